import { fromBinary } from "@bufbuild/protobuf";
import {
  ChunkReleasedSchema,
  ChunkStoredSchema,
  UploadCompletedSchema,
  UploadExpiredSchema,
} from "#gen/decentrastore/events/v1/events_pb.ts";
import type { ReceivedEvent } from "#platform/inbox/received-event.ts";
import { optionalUuidOf, sha256Of, UnusableEventError, uuidOf } from "../events.ts";
import type { Fact } from "./facts.ts";

/**
 * What an event of node-registry says, checked: a value that breaks the contract must fail here, by its name, and not in
 * PostgreSQL. Undefined for events that change nothing here, such as a replica beyond the quorum or a message of a later version.
 */
export function factOf(event: ReceivedEvent): Fact | undefined {
  switch (event.type) {
    case ChunkStoredSchema.typeName:
      return storedFact(event);
    case ChunkReleasedSchema.typeName:
      return releasedFact(event);
    case UploadCompletedSchema.typeName:
      return uploadEndedFact(event, fromBinary(UploadCompletedSchema, event.payload));
    case UploadExpiredSchema.typeName:
      return uploadEndedFact(event, fromBinary(UploadExpiredSchema, event.payload));
    default:
      return undefined;
  }
}

function storedFact(event: ReceivedEvent): Fact | undefined {
  const message = fromBinary(ChunkStoredSchema, event.payload);
  if (!message.reachedQuorum) return undefined;
  return {
    kind: "stored",
    ...chunkOf(event, message),
    uploadId: optionalUuidOf("upload_id", message.uploadId),
    reservationId: optionalUuidOf("reservation_id", message.reservationId),
  };
}

function releasedFact(event: ReceivedEvent): Fact | undefined {
  const message = fromBinary(ChunkReleasedSchema, event.payload);
  // It never reached its quorum and never will: nothing was charged, and nothing needs to be remembered.
  return message.charged ? { kind: "released", ...chunkOf(event, message) } : undefined;
}

function chunkOf(
  event: ReceivedEvent,
  message: { userId: string; chunkHash: string; generation: number; sizeBytes: bigint },
) {
  const { generation, sizeBytes } = message;
  if (generation < 1) throw new UnusableEventError("generation is not positive");
  if (sizeBytes < 1n) throw new UnusableEventError("size_bytes is not positive");
  return {
    userId: uuidOf("user_id", message.userId),
    eventId: event.eventId,
    sourcePosition: event.sequence,
    chunkHash: sha256Of("chunk_hash", message.chunkHash),
    generation,
    sizeBytes,
  };
}

function uploadEndedFact(
  event: ReceivedEvent,
  message: { userId: string; reservationId: string; chargedBytes: bigint },
): Fact | undefined {
  const reservationId = optionalUuidOf("reservation_id", message.reservationId);
  if (reservationId === undefined) return undefined;
  if (message.chargedBytes < 0n) throw new UnusableEventError("charged_bytes is negative");
  const userId = uuidOf("user_id", message.userId);
  return {
    kind: "upload_ended",
    userId,
    eventId: event.eventId,
    sourcePosition: event.sequence,
    reservationId,
    chargedBytes: message.chargedBytes,
  };
}
