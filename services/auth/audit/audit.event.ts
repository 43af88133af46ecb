import type { AuditEventType } from "#gen/decentrastore/auth/v1/audit_event_pb.ts";
import type { ErrorReason } from "#gen/decentrastore/auth/v1/error_reason_pb.ts";
import type { Connection } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { uuidv7 } from "#platform/time/uuid.ts";
import { createSealingKey } from "../keys/sealing.ts";
import { insertAuditRow, personalKeyOf } from "./audit.store.ts";

/** A security event, before it is stored. */
export interface AuditEntry {
  readonly type: keyof typeof AuditEventType & string;
  /** Left out for a success. */
  readonly refused?: keyof typeof ErrorReason & string;
  /** A user_id, a client_id, `cli` or `system`; left out where nobody with valid credentials acted. */
  readonly actorId?: string;
  /** The user it was done to. */
  readonly userId?: string | undefined;
  readonly sessionId?: string | undefined;
  readonly clientId?: string;
  readonly address?: string;
  /** Whose key seals the address; by default that of `userId`. */
  readonly sealFor?: string | undefined;
  readonly reason?: string;
}

const ADDRESS_PURPOSE = "audit-address";

/** Appends to the audit trail in the transaction of the change that it tells of. */
export async function recordAudit(tx: Connection, clock: Clock, entry: AuditEntry): Promise<void> {
  const sealedFor = entry.sealFor ?? entry.userId;
  const address = entry.address ?? "";
  const key = sealedFor === undefined || address === "" ? undefined : await personalKeyOf(tx, sealedFor);
  const sealed = key === undefined ? null : createSealingKey(key).seal(Buffer.from(address), ADDRESS_PURPOSE);
  await insertAuditRow(tx, {
    occurredAt: clock.now(),
    auditEventId: uuidv7(clock),
    type: entry.type,
    result: entry.refused === undefined ? "SUCCEEDED" : "REFUSED",
    actorId: entry.actorId ?? "",
    userId: entry.userId ?? null,
    sessionId: entry.sessionId ?? null,
    clientId: entry.clientId ?? "",
    // The address of somebody who is being forgotten is not kept in clear either.
    clientAddress: sealedFor === undefined ? address : "",
    clientAddressSealed: sealed,
    sealedFor: sealed === null ? null : (sealedFor ?? null),
    errorReason: entry.refused ?? "",
    reason: entry.reason ?? "",
  });
}

/** The address in a row, or empty where its key went with the user. */
export function addressIn(row: {
  readonly clientAddress: string;
  readonly clientAddressSealed: Uint8Array | null;
  readonly personalKey: Uint8Array | null;
}): string {
  if (row.clientAddressSealed === null || row.personalKey === null) return row.clientAddress;
  return createSealingKey(row.personalKey).open(row.clientAddressSealed, ADDRESS_PURPOSE).toString();
}
