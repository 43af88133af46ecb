import { randomBytes, randomUUID } from "node:crypto";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  ChunkReleasedSchema,
  ChunkStoredSchema,
  UploadCompletedSchema,
  UploadExpiredSchema,
  UserActivatedSchema,
  UserDeactivatedSchema,
  UserDeletedSchema,
  UserRegisteredSchema,
} from "#gen/decentrastore/events/v1/events_pb.ts";
import type { ReceivedEvent } from "#platform/inbox/received-event.ts";

let sequence = 0n;

export function anyHash(): string {
  return randomBytes(32).toString("hex");
}

/** An event as it comes from the stream, with an outbox id above that of all events before. */
export function received<D extends DescMessage>(
  schema: D,
  init: MessageInitShape<D>,
  over: Partial<ReceivedEvent> = {},
): ReceivedEvent {
  sequence += 1n;
  return {
    eventId: randomUUID(),
    type: schema.typeName,
    subject: `decentrastore.chunk.test.${sequence}`,
    key: String(sequence),
    keyVersion: 1n,
    sequence,
    time: Temporal.Now.instant().toString(),
    payload: toBinary(schema, create(schema, init)),
    streamSequence: sequence,
    deliveries: 1,
    ...over,
  };
}

type Stored = MessageInitShape<typeof ChunkStoredSchema>;

export function chunkStored(userId: string, sizeBytes: bigint, over: Stored = {}): ReceivedEvent {
  const chunk = { chunkHash: anyHash(), generation: 1, uploadId: randomUUID(), reachedQuorum: true };
  return received(ChunkStoredSchema, { userId, sizeBytes, ...chunk, ...over });
}

type Released = MessageInitShape<typeof ChunkReleasedSchema>;

export function chunkReleased(userId: string, chunkHash: string, sizeBytes: bigint, over: Released = {}) {
  return received(ChunkReleasedSchema, { userId, chunkHash, sizeBytes, generation: 1, charged: true, ...over });
}

export function uploadCompleted(userId: string, reservationId: string, chargedBytes: bigint): ReceivedEvent {
  return received(UploadCompletedSchema, { uploadId: randomUUID(), userId, reservationId, chargedBytes });
}

export function uploadExpired(userId: string, reservationId: string, chargedBytes: bigint): ReceivedEvent {
  return received(UploadExpiredSchema, { uploadId: randomUUID(), userId, reservationId, chargedBytes });
}

export function userRegistered(userId: string, opening?: { storageQuotaBytes: bigint; storageUsedBytes: bigint }) {
  return received(UserRegisteredSchema, opening === undefined ? { userId } : { userId, opening });
}

const userSchemas = {
  activated: UserActivatedSchema,
  deactivated: UserDeactivatedSchema,
  deleted: UserDeletedSchema,
} as const;

/** `version` is the event's place among those of its user. */
export function userChanged(kind: keyof typeof userSchemas, userId: string, version: bigint): ReceivedEvent {
  return received(userSchemas[kind], { userId }, { keyVersion: version });
}
