import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { bytes, instant, sql, zBytes, zInstant, zInt8 } from "#platform/postgres/sql.ts";

const zAuthority = z.strictObject({
  id: zInt8,
  state: z.enum(["announced", "active", "retiring"]),
  certificate_der: zBytes,
  encrypted_private_key: zBytes,
  state_since: zInstant,
  expires_at: zInstant,
});
export type AuthorityRow = z.infer<typeof zAuthority>;

/** The authorities that are trusted, oldest first. */
export async function selectAuthorities(db: Connection): Promise<readonly AuthorityRow[]> {
  return db.any(sql.type(zAuthority)`
    select id, state, certificate_der, encrypted_private_key, state_since, expires_at
    from node_registry.certificate_authorities
    where state <> 'retired'
    order by id`);
}

/** False where there is one in this state already: several processes may try at once. */
export async function insertAuthority(
  db: Connection,
  authority: {
    readonly state: "active" | "announced";
    readonly certificateDer: Uint8Array;
    readonly encryptedPrivateKey: Uint8Array;
    readonly expiresAt: Temporal.Instant;
  },
): Promise<boolean> {
  const row = await db.maybeOne(sql.type(z.strictObject({ id: zInt8 }))`
    insert into node_registry.certificate_authorities (state, certificate_der, encrypted_private_key, expires_at)
    values (${authority.state}, ${bytes(authority.certificateDer)}, ${bytes(authority.encryptedPrivateKey)},
      ${instant(authority.expiresAt)})
    on conflict do nothing
    returning id`);
  return row !== null;
}

/** The announced authority issues from now on; the one before stays trusted. Two statements: one index allows one active. */
export async function activateAnnounced(
  tx: Connection,
  now: Temporal.Instant,
  announcedForMs: number,
): Promise<boolean> {
  const announced = await tx.maybeOne(sql.type(z.strictObject({ id: zInt8 }))`
    select id from node_registry.certificate_authorities
    where state = 'announced' and state_since <= ${instant(now.subtract({ milliseconds: announcedForMs }))}
    for update`);
  if (announced === null) return false;
  await tx.query(sql.unsafe`
    update node_registry.certificate_authorities set state = 'retiring', state_since = ${instant(now)}
    where state = 'active'`);
  await tx.query(sql.unsafe`
    update node_registry.certificate_authorities set state = 'active', state_since = ${instant(now)}
    where id = ${announced.id}`);
  return true;
}

/**
 * A retiring authority is retired once no node that may still come has a living certificate of it. What it has signed is
 * refused from then on.
 */
export async function retireUnused(db: Connection, now: Temporal.Instant, overlapMs: number): Promise<boolean> {
  const { rowCount } = await db.query(sql.unsafe`
    update node_registry.certificate_authorities a set state = 'retired', state_since = ${instant(now)}
    where a.state = 'retiring' and a.state_since <= ${instant(now.subtract({ milliseconds: overlapMs }))} and not exists (
      select 1 from node_registry.storage_nodes n
      where n.certificate_authority_id = a.id and n.certificate_expires_at > ${instant(now)}
        and n.state not in ('disqualified', 'deregistered'))`);
  return rowCount > 0;
}
