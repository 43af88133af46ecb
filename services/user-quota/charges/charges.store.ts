import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { int4Array, int8Array, sql, textArray, uuidArray, zInt8, zUuid } from "#platform/postgres/sql.ts";
import type { Charge } from "./facts.ts";

const chargeRow = z.strictObject({
  userId: zUuid,
  chunkHash: z.string(),
  generation: z.number(),
  state: z.enum(["charged", "forestalled", "released"]),
  sizeBytes: zInt8,
});

// Hashes travel as text and are decoded by PostgreSQL: cheaper than an array of Buffers, which the driver escapes.
const rowsOf = (charges: readonly Charge[]) => sql.fragment`
  select user_id, decode(chunk_hash, 'hex') as chunk_hash, generation, state, size_bytes
  from unnest(
    ${uuidArray(charges.map((charge) => charge.userId))},
    ${textArray(charges.map((charge) => charge.chunkHash))},
    ${int4Array(charges.map((charge) => charge.generation))},
    ${textArray(charges.map((charge) => charge.state))},
    ${int8Array(charges.map((charge) => charge.sizeBytes))}
  ) as row (user_id, chunk_hash, generation, state, size_bytes)`;

/**
 * Inserts the charges that nothing is known of, and returns those that were known before, as they are. Both parts see the
 * same snapshot, and the accounts' locks keep everybody else out: what is not returned was inserted.
 *
 * Nearly always everything is new. Then the count, which is evaluated first, saves looking: 3.8 instead of 21 ms for 500
 * rows. Where something is known the lateral join looks each row up by its key, whatever the planner thinks of the table.
 */
export function claimCharges(tx: Connection, claims: readonly Charge[]): Promise<readonly Charge[]> {
  if (claims.length === 0) return Promise.resolve([]);
  return tx.any(sql.type(chargeRow)`
    with claim as materialized (${rowsOf(claims)}),
    inserted as (
      insert into user_quota.charges (user_id, chunk_hash, generation, state, size_bytes)
      select user_id, chunk_hash, generation, state, size_bytes from claim
      order by user_id, chunk_hash, generation
      on conflict do nothing
      returning 1
    )
    select claim.user_id as "userId", encode(claim.chunk_hash, 'hex') as "chunkHash", claim.generation,
      known.state, known.size_bytes as "sizeBytes"
    from claim cross join lateral (
      select state, size_bytes from user_quota.charges
      where charges.user_id = claim.user_id and charges.chunk_hash = claim.chunk_hash
        and charges.generation = claim.generation
      limit 1
    ) as known
    where (select count(*) from inserted) < ${claims.length}`);
}

export async function saveCharges(tx: Connection, charges: readonly Charge[]): Promise<void> {
  if (charges.length === 0) return;
  await tx.query(sql.unsafe`
    update user_quota.charges set state = new.state, size_bytes = new.size_bytes
    from (${rowsOf(charges)}) as new
    where charges.user_id = new.user_id and charges.chunk_hash = new.chunk_hash
      and charges.generation = new.generation`);
}
