import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { bytes, instant, sql, zBytes, zVoid } from "#platform/postgres/sql.ts";

const row = z.strictObject({ purpose: z.string(), secretSealed: zBytes });

/** The first replica's secret stays; all get the one that is stored. */
export async function secretFor(
  db: Connection,
  purpose: string,
  newSecretSealed: Uint8Array,
  now: Temporal.Instant,
): Promise<Buffer> {
  await db.query(sql.type(zVoid)`
    insert into auth.secrets (purpose, secret_sealed, created_at)
    values (${purpose}, ${bytes(newSecretSealed)}, ${instant(now)}) on conflict do nothing`);
  const found = await db.one(sql.type(row)`
    select purpose, secret_sealed "secretSealed" from auth.secrets where purpose = ${purpose}`);
  return found.secretSealed;
}

export async function lockSecrets(tx: Connection): Promise<readonly z.output<typeof row>[]> {
  return await tx.any(sql.type(row)`
    select purpose, secret_sealed "secretSealed" from auth.secrets order by purpose for update`);
}

export async function resealSecret(tx: Connection, purpose: string, sealed: Uint8Array): Promise<void> {
  await tx.query(sql.type(zVoid)`
    update auth.secrets set secret_sealed = ${bytes(sealed)} where purpose = ${purpose}`);
}
