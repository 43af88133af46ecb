import type { MessageInitShape } from "@bufbuild/protobuf";
import type { MethodImpl } from "@connectrpc/connect";
import { z } from "zod";
import { type AuditEventSchema, AuditEventType, AuditResult } from "#gen/decentrastore/auth/v1/audit_event_pb.ts";
import type { UserAdminService } from "#gen/decentrastore/auth/v1/user_admin_service_pb.ts";
import { nextPageToken, pageOf } from "#platform/rpc/paging.ts";
import { fromTimestamp, toTimestamp } from "#platform/rpc/time.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { zInstantText } from "../instant-text.ts";
import { addressIn } from "./audit.event.ts";
import { type ListedAuditRow, listAuditRows } from "./audit.store.ts";

const cursor = z.strictObject({ occurredAt: zInstantText, auditEventId: z.uuid() });

export function listAuditEvents(deps: Deps): MethodImpl<typeof UserAdminService.method.listAuditEvents> {
  return async (request, _context) => {
    const { userId, actorId, occurredFrom, occurredBefore } = request;
    validate((check) => {
      if (userId !== "") check.uuid("user_id", userId);
      check.text("actor_id", actorId, { max: 64 });
      if (nameIn(AuditEventType, request.type) === undefined)
        check.fail("type", "must be one of the documented values");
      if (nameIn(AuditResult, request.result) === undefined)
        check.fail("result", "must be one of the documented values");
      if (occurredFrom !== undefined) check.instantPresent("occurred_from", occurredFrom);
      if (occurredBefore !== undefined) check.instantPresent("occurred_before", occurredBefore);
    });
    const page = pageOf(request, cursor);
    const rows = await listAuditRows(
      deps.pool,
      {
        userId: userId === "" ? undefined : userId,
        actorId: actorId === "" ? undefined : actorId,
        type: request.type === AuditEventType.UNSPECIFIED ? undefined : nameIn(AuditEventType, request.type),
        result: request.result === AuditResult.UNSPECIFIED ? undefined : nameIn(AuditResult, request.result),
        from: occurredFrom && fromTimestamp(occurredFrom),
        before: occurredBefore && fromTimestamp(occurredBefore),
      },
      page,
    );
    return {
      auditEvents: rows.map(toProtoAuditEvent),
      nextPageToken: nextPageToken(rows, page.limit, ({ occurredAt, auditEventId }) => ({ occurredAt, auditEventId })),
    };
  };
}

function toProtoAuditEvent(row: ListedAuditRow): MessageInitShape<typeof AuditEventSchema> {
  return {
    auditEventId: row.auditEventId,
    occurredAt: toTimestamp(row.occurredAt),
    type: valueIn(AuditEventType, row.type),
    result: valueIn(AuditResult, row.result),
    actorId: row.actorId,
    userId: row.userId ?? "",
    sessionId: row.sessionId ?? "",
    clientId: row.clientId,
    clientAddress: addressIn(row),
    errorReason: row.errorReason,
    reason: row.reason,
  };
}

function nameIn(values: Readonly<Record<string, number>>, value: number): string | undefined {
  return Object.entries(values).find(([, known]) => known === value)?.[0];
}

function valueIn<V extends number>(values: Readonly<Record<string, V>>, name: string): V {
  const value = values[name];
  if (value === undefined) throw new Error(`the audit trail holds the unknown value ${name}`);
  return value;
}
