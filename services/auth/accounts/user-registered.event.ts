import { UserRegisteredSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { newEvent, type OutboxEvent } from "#platform/outbox/outbox.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { Clock } from "#platform/time/clock.ts";

/** The first event of every user's key. */
export function userRegistered(clock: Clock, userId: string, createdAt: Temporal.Instant): OutboxEvent {
  const at = { subject: `decentrastore.user.registered.${userId}`, key: userId, keyVersion: 1n, clock };
  return newEvent(UserRegisteredSchema, at, { userId, createdAt: toTimestamp(createdAt) });
}
