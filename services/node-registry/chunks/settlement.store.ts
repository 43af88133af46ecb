import { z } from "zod";
import type { Transaction } from "#platform/postgres/pool.ts";
import { hexBytesArray, int8Array, sql, uuidArray, zUuid } from "#platform/postgres/sql.ts";
import type { Availabilities } from "./availability.ts";
import { changingHoldings, type HoldingChanges, toAvailabilities, zAvailability } from "./holdings.store.ts";
import type { LockedChunk } from "./report-outcomes.ts";
import { countedDown, readUploads, type UploadRow } from "./uploads.store.ts";
import { foldUsage } from "./user-usage.store.ts";

export interface Settlement {
  readonly availabilities: Availabilities;
  /** Uploads that this very statement completed. */
  readonly completed: readonly UploadRow[];
}

const zSettled = zAvailability.extend({ completed: z.array(zUuid) });

/**
 * What confirmations change about everything but their chunks, which must be locked: every OPEN upload that uses a chunk
 * at quorum waits for it no longer, and one of them pays; the nodes' figures; the owners' usage.
 *
 * One statement, because a group of reports waits for each answer; the counts make each step lock after the one before,
 * in the order in which everybody locks: uploads, holdings, usage.
 */
export async function settleConfirmations(
  tx: Transaction,
  { reached, holdings }: { readonly reached: readonly LockedChunk[]; readonly holdings: HoldingChanges },
  now: Temporal.Instant,
): Promise<Settlement> {
  const charges = foldUsage(reached.map((chunk) => ({ userId: chunk.ownerId, bytes: chunk.sizeBytes, chunks: 1n })));
  const rows = await tx.any(sql.prepared("settle_confirmations", zSettled)`
    with made as materialized (
      select r.upload_id, count(*) as settled_chunks,
        count(*) filter (where r.upload_id = reached.charged_upload_id) as charged_chunks,
        coalesce(sum(reached.size_bytes) filter (where r.upload_id = reached.charged_upload_id), 0) as charged_bytes
      from unnest(
        ${hexBytesArray(reached.map((chunk) => chunk.chunkHash))},
        ${uuidArray(reached.map(chargedUploadOf))},
        ${int8Array(reached.map((chunk) => chunk.sizeBytes))}
      ) as reached (chunk_hash, charged_upload_id, size_bytes)
      join node_registry.upload_chunks r on r.chunk_hash = reached.chunk_hash
      group by r.upload_id
    ), locked_uploads as materialized (
      select upload_id from node_registry.uploads
      where upload_id in (select upload_id from made) and state = 'open'
      order by upload_id
      for no key update
    ), advanced as (
      update node_registry.uploads u
      set ${countedDown(now)}
      from made
      join locked_uploads on locked_uploads.upload_id = made.upload_id
      where u.upload_id = made.upload_id and u.state = 'open'
      returning u.upload_id, u.state
    ), ${changingHoldings(holdings, now, sql.fragment`(select count(*) from advanced) >= 0`)},
    charged as (
      insert into node_registry.user_usage as u (user_id, charged_bytes, charged_chunks)
      select user_id, bytes, chunks
      from unnest(
        ${uuidArray(charges.map((charge) => charge.userId))},
        ${int8Array(charges.map((charge) => charge.bytes))},
        ${int8Array(charges.map((charge) => charge.chunks))}
      ) as charge (user_id, bytes, chunks)
      where (select count(*) from changed_holdings) >= 0
      order by user_id
      on conflict (user_id) do update
      set charged_bytes = u.charged_bytes + excluded.charged_bytes,
        charged_chunks = u.charged_chunks + excluded.charged_chunks
    )
    select node_id, is_available, walked_to,
      array(select upload_id from advanced where state = 'completed') as completed
    from changed_holdings`);
  return { availabilities: toAvailabilities(rows), completed: await readUploads(tx, rows[0]?.completed ?? []) };
}

/**
 * The upload whose numbers the charge belongs to: they tell user-quota what will be posted to the upload's reservation. A
 * chunk without a reservation is posted to none. One that the upload has let go of was counted when it did.
 */
function chargedUploadOf(chunk: LockedChunk): string | null {
  return chunk.reservationId === null ? null : chunk.payingUploadId;
}
