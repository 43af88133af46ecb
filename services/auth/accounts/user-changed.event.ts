import {
  UserActivatedSchema,
  UserDeactivatedSchema,
  UserDeletedSchema,
} from "#gen/decentrastore/events/v1/events_pb.ts";
import { newEvent, type OutboxEvent } from "#platform/outbox/outbox.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { Clock } from "#platform/time/clock.ts";

interface UserChange {
  readonly clock: Clock;
  readonly userId: string;
  readonly keyVersion: bigint;
}

export function userActivated(change: UserChange, reason: string): OutboxEvent {
  return newEvent(UserActivatedSchema, addressOf(change, "activated"), { userId: change.userId, reason });
}

export function userDeactivated(change: UserChange, validAfter: Temporal.Instant, reason: string): OutboxEvent {
  const { userId } = change;
  const event = { userId, validAfter: toTimestamp(validAfter), sessionIds: [], reason };
  return newEvent(UserDeactivatedSchema, addressOf(change, "deactivated"), event);
}

/** The last event of the user's key. */
export function userDeleted(change: UserChange, validAfter: Temporal.Instant): OutboxEvent {
  const event = { userId: change.userId, validAfter: toTimestamp(validAfter) };
  return newEvent(UserDeletedSchema, addressOf(change, "deleted"), event);
}

function addressOf({ clock, userId, keyVersion }: UserChange, what: string) {
  return { subject: `decentrastore.user.${what}.${userId}`, key: userId, keyVersion, clock };
}
