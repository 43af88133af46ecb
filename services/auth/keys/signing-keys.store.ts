import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { bytes, instant, sql, textArray, zBytes, zInstant, zVoid } from "#platform/postgres/sql.ts";

const row = z.strictObject({
  keyId: z.string(),
  state: z.enum(["next", "current", "previous"]),
  publicKey: zBytes,
  privateKeySealed: zBytes,
  createdAt: zInstant,
  currentSince: zInstant.nullable(),
  previousSince: zInstant.nullable(),
});
export type SigningKeyRow = z.output<typeof row>;

const columns = sql.fragment`
  key_id "keyId", state, public_key "publicKey", private_key_sealed "privateKeySealed", created_at "createdAt",
  current_since "currentSince", previous_since "previousSince"`;

export async function listSigningKeys(db: Connection): Promise<readonly SigningKeyRow[]> {
  return await db.any(sql.type(row)`select ${columns} from auth.signing_keys order by created_at, key_id`);
}

/** Whoever rotates holds all rows, so that rotations of several replicas follow one another. */
export async function lockSigningKeys(tx: Connection): Promise<readonly SigningKeyRow[]> {
  return await tx.any(sql.type(row)`select ${columns} from auth.signing_keys order by key_id for update`);
}

/**
 * Dates what lies after `latest` anew, as of `now`, and gives the keys as they are then: a clock that was years ahead would
 * otherwise put rotation off for as long, the one after a theft too. The caller holds all rows.
 */
export async function redateSigningKeys(
  tx: Connection,
  now: Temporal.Instant,
  latest: Temporal.Instant,
): Promise<readonly SigningKeyRow[]> {
  const redated = (column: string) => {
    const at = sql.identifier([column]);
    return sql.fragment`${at} = case when ${at} > ${instant(latest)} then ${instant(now)} else ${at} end`;
  };
  return await tx.any(sql.type(row)`
    update auth.signing_keys
    set ${redated("created_at")}, ${redated("current_since")}, ${redated("previous_since")}
    returning ${columns}`);
}

export interface NewSigningKey {
  readonly keyId: string;
  readonly publicKey: Uint8Array;
  readonly privateKeySealed: Uint8Array;
}

/** Does nothing where another replica was quicker: there is one next and one current key. */
export async function insertSigningKey(
  tx: Connection,
  key: NewSigningKey,
  state: "next" | "current",
  now: Temporal.Instant,
): Promise<void> {
  const since = state === "current" ? instant(now) : sql.fragment`null`;
  await tx.query(sql.type(zVoid)`
    insert into auth.signing_keys (key_id, state, public_key, private_key_sealed, created_at, current_since)
    values (${key.keyId}, ${state}, ${bytes(key.publicKey)}, ${bytes(key.privateKeySealed)}, ${instant(now)}, ${since})
    on conflict do nothing`);
}

/** Two statements, because the unique rules on the states look at each row as it changes. */
export async function promoteNextKey(tx: Connection, now: Temporal.Instant): Promise<void> {
  await tx.query(sql.type(zVoid)`
    update auth.signing_keys set state = 'previous', previous_since = ${instant(now)} where state = 'current'`);
  await tx.query(sql.type(zVoid)`
    update auth.signing_keys set state = 'current', current_since = ${instant(now)} where state = 'next'`);
}

export async function deleteSigningKeys(tx: Connection, keyIds: readonly string[]): Promise<void> {
  await tx.query(sql.type(zVoid)`delete from auth.signing_keys where key_id = any(${textArray(keyIds)})`);
}

export async function resealSigningKey(tx: Connection, keyId: string, sealed: Uint8Array): Promise<void> {
  await tx.query(sql.type(zVoid)`
    update auth.signing_keys set private_key_sealed = ${bytes(sealed)} where key_id = ${keyId}`);
}
