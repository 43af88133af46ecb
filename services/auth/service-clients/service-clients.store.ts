import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { bytes, instant, sql, textArray, zBytes, zInstant, zVoid } from "#platform/postgres/sql.ts";

const row = z.strictObject({
  clientId: z.string(),
  name: z.string(),
  scopes: z.array(z.string()),
  secretHash: zBytes,
  previousSecretHash: zBytes.nullable(),
  secretCreatedAt: zInstant,
  createdAt: zInstant,
  lastUsedAt: zInstant.nullable(),
  revokedAt: zInstant.nullable(),
});
export type ServiceClientRow = z.output<typeof row>;

const columns = sql.fragment`
  client_id "clientId", name, scopes, secret_hash "secretHash", previous_secret_hash "previousSecretHash",
  secret_created_at "secretCreatedAt", created_at "createdAt", last_used_at "lastUsedAt", revoked_at "revokedAt"`;

export interface NewServiceClient {
  readonly clientId: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly secretHash: Uint8Array;
  readonly createdAt: Temporal.Instant;
}

/** Undefined when a living client has the name, or any client the id. */
export async function insertServiceClient(
  tx: Connection,
  client: NewServiceClient,
): Promise<ServiceClientRow | undefined> {
  const found = await tx.maybeOne(sql.type(row)`
    insert into auth.service_clients (client_id, name, scopes, secret_hash, secret_created_at, created_at)
    values (${client.clientId}, ${client.name}, ${textArray(client.scopes)}, ${bytes(client.secretHash)},
      ${instant(client.createdAt)}, ${instant(client.createdAt)})
    on conflict do nothing returning ${columns}`);
  return found ?? undefined;
}

export async function findServiceClient(db: Connection, clientId: string): Promise<ServiceClientRow | undefined> {
  const found = await db.maybeOne(sql.type(row)`
    select ${columns} from auth.service_clients where client_id = ${clientId}`);
  return found ?? undefined;
}

/** To the minute, so that a busy client does not write its row with each token. */
export async function markClientUsed(db: Connection, clientId: string, now: Temporal.Instant): Promise<void> {
  await db.query(sql.type(zVoid)`
    update auth.service_clients set last_used_at = ${instant(now)}
    where client_id = ${clientId} and (last_used_at is null or last_used_at < ${instant(now)} - interval '1 minute')`);
}

/** The secret before stays valid until the next rotation. Undefined where the client is unknown or revoked. */
export async function rotateClientSecret(
  tx: Connection,
  clientId: string,
  secretHash: Uint8Array,
  now: Temporal.Instant,
): Promise<ServiceClientRow | undefined> {
  const found = await tx.maybeOne(sql.type(row)`
    update auth.service_clients
    set previous_secret_hash = secret_hash, secret_hash = ${bytes(secretHash)}, secret_created_at = ${instant(now)}
    where client_id = ${clientId} and revoked_at is null returning ${columns}`);
  return found ?? undefined;
}

export async function setClientScopes(tx: Connection, clientId: string, scopes: readonly string[]): Promise<void> {
  await tx.query(sql.type(zVoid)`
    update auth.service_clients set scopes = ${textArray(scopes)} where client_id = ${clientId}`);
}

/** Undefined where the client is unknown, or revoked already. */
export async function revokeClient(
  tx: Connection,
  clientId: string,
  now: Temporal.Instant,
): Promise<ServiceClientRow | undefined> {
  const found = await tx.maybeOne(sql.type(row)`
    update auth.service_clients set revoked_at = ${instant(now)}
    where client_id = ${clientId} and revoked_at is null returning ${columns}`);
  return found ?? undefined;
}

/** By name, behind `after`. */
export async function listServiceClients(
  db: Connection,
  page: { readonly limit: number; readonly after: { name: string; clientId: string } | undefined },
): Promise<readonly ServiceClientRow[]> {
  const behind =
    page.after === undefined
      ? sql.fragment`true`
      : sql.fragment`(name, client_id) > (${page.after.name}, ${page.after.clientId})`;
  return await db.any(sql.type(row)`
    select ${columns} from auth.service_clients where ${behind} order by name, client_id limit ${page.limit}`);
}
