import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { bytes, instant, sql, zBytes, zInstant, zUuid, zVoid } from "#platform/postgres/sql.ts";

export interface AuditRow {
  readonly occurredAt: Temporal.Instant;
  readonly auditEventId: string;
  readonly type: string;
  readonly result: "SUCCEEDED" | "REFUSED";
  readonly actorId: string;
  readonly userId: string | null;
  readonly sessionId: string | null;
  readonly clientId: string;
  readonly clientAddress: string;
  readonly clientAddressSealed: Uint8Array | null;
  readonly sealedFor: string | null;
  readonly errorReason: string;
  readonly reason: string;
}

export async function insertAuditRow(tx: Connection, event: AuditRow): Promise<void> {
  const sealed = event.clientAddressSealed === null ? null : bytes(event.clientAddressSealed);
  await tx.query(sql.type(zVoid)`
    insert into auth.audit_events (
      occurred_at, audit_event_id, type, result, actor_id, user_id, session_id, client_id, client_address,
      client_address_sealed, sealed_for, error_reason, reason
    ) values (
      ${instant(event.occurredAt)}, ${event.auditEventId}, ${event.type}, ${event.result}, ${event.actorId},
      ${event.userId}, ${event.sessionId}, ${event.clientId}, ${event.clientAddress}, ${sealed}, ${event.sealedFor},
      ${event.errorReason}, ${event.reason})`);
}

/** The key that seals what the trail keeps about a user, or undefined once the user is gone. */
export async function personalKeyOf(db: Connection, userId: string): Promise<Buffer | undefined> {
  const found = await db.maybeOneFirst(sql.type(z.strictObject({ personalKey: zBytes }))`
    select personal_key "personalKey" from auth.users where id = ${userId}`);
  return found ?? undefined;
}

const listed = z.strictObject({
  occurredAt: zInstant,
  auditEventId: zUuid,
  type: z.string(),
  result: z.string(),
  actorId: z.string(),
  userId: zUuid.nullable(),
  sessionId: zUuid.nullable(),
  clientId: z.string(),
  clientAddress: z.string(),
  clientAddressSealed: zBytes.nullable(),
  personalKey: zBytes.nullable(),
  errorReason: z.string(),
  reason: z.string(),
});
export type ListedAuditRow = z.output<typeof listed>;

export interface AuditFilter {
  readonly userId?: string | undefined;
  readonly actorId?: string | undefined;
  readonly type?: string | undefined;
  readonly result?: string | undefined;
  readonly from?: Temporal.Instant | undefined;
  readonly before?: Temporal.Instant | undefined;
}

/** Newest first, behind `after`. */
export async function listAuditRows(
  db: Connection,
  filter: AuditFilter,
  page: { readonly limit: number; readonly after: { occurredAt: Temporal.Instant; auditEventId: string } | undefined },
): Promise<readonly ListedAuditRow[]> {
  const conditions = [
    filter.userId === undefined ? undefined : sql.fragment`e.user_id = ${filter.userId}`,
    filter.actorId === undefined ? undefined : sql.fragment`e.actor_id = ${filter.actorId} and e.actor_id <> ''`,
    filter.type === undefined ? undefined : sql.fragment`e.type = ${filter.type}`,
    filter.result === undefined ? undefined : sql.fragment`e.result = ${filter.result}`,
    filter.from === undefined ? undefined : sql.fragment`e.occurred_at >= ${instant(filter.from)}`,
    filter.before === undefined ? undefined : sql.fragment`e.occurred_at < ${instant(filter.before)}`,
    page.after === undefined
      ? undefined
      : sql.fragment`(e.occurred_at, e.audit_event_id) < (${instant(page.after.occurredAt)}, ${page.after.auditEventId}::uuid)`,
  ].flatMap((condition) => condition ?? []);
  return await db.any(sql.type(listed)`
    select e.occurred_at "occurredAt", e.audit_event_id "auditEventId", e.type, e.result, e.actor_id "actorId",
      e.user_id "userId", e.session_id "sessionId", e.client_id "clientId", e.client_address "clientAddress",
      e.client_address_sealed "clientAddressSealed", u.personal_key "personalKey", e.error_reason "errorReason", e.reason
    from auth.audit_events e left join auth.users u on u.id = e.sealed_for
    where ${sql.join([sql.fragment`true`, ...conditions], sql.fragment` and `)}
    order by e.occurred_at desc, e.audit_event_id desc limit ${page.limit}`);
}
