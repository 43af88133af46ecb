import { UserRegisteredSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { newEvent, type OutboxEvent } from "#platform/outbox/outbox.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { Clock } from "#platform/time/clock.ts";

/** What an imported user brings along. */
export interface Opening {
  readonly storageQuotaBytes: bigint;
  readonly storageUsedBytes: bigint;
}

/** The first event of every user's key; `opening` for imported users only. */
export function userRegistered(
  clock: Clock,
  userId: string,
  createdAt: Temporal.Instant,
  opening?: Opening,
): OutboxEvent {
  const at = { subject: `decentrastore.user.registered.${userId}`, key: userId, keyVersion: 1n, clock };
  const event = { userId, createdAt: toTimestamp(createdAt), ...(opening === undefined ? {} : { opening }) };
  return newEvent(UserRegisteredSchema, at, event);
}
