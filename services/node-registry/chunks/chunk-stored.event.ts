import { ChunkRepairedSchema, ChunkStoredSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { newEvent, type OutboxEvent } from "#platform/outbox/outbox.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { Confirmation } from "./report-outcomes.ts";

/** What a confirmation tells: chunk.stored, or chunk.repaired where repair and no upload asked for the replica. */
export function chunkConfirmed(clock: Clock, confirmation: Confirmation, nodeId: string): OutboxEvent {
  return confirmation.isRepair ? chunkRepaired(clock, confirmation, nodeId) : chunkStored(clock, confirmation, nodeId);
}

function chunkRepaired(clock: Clock, confirmation: Confirmation, nodeId: string): OutboxEvent {
  const { chunk } = confirmation;
  return newEvent(
    ChunkRepairedSchema,
    {
      subject: `decentrastore.chunk.repaired.${chunk.chunkHash}`,
      key: chunk.chunkHash,
      keyVersion: confirmation.eventVersion,
      clock,
    },
    {
      chunkHash: chunk.chunkHash,
      userId: chunk.ownerId,
      generation: chunk.generation,
      nodeId,
      sizeBytes: chunk.sizeBytes,
      confirmedReplicas: confirmation.confirmedReplicas,
      wantedReplicas: chunk.wantedReplicas,
    },
  );
}

function chunkStored(clock: Clock, confirmation: Confirmation, nodeId: string): OutboxEvent {
  const { chunk } = confirmation;
  return newEvent(
    ChunkStoredSchema,
    {
      subject: `decentrastore.chunk.stored.${chunk.chunkHash}`,
      key: chunk.chunkHash,
      keyVersion: confirmation.eventVersion,
      clock,
    },
    {
      chunkHash: chunk.chunkHash,
      userId: chunk.ownerId,
      uploadId: chunk.payingUploadId,
      reservationId: chunk.reservationId ?? "",
      generation: chunk.generation,
      nodeId,
      sizeBytes: chunk.sizeBytes,
      blockIndex: confirmation.blockIndex,
      confirmedReplicas: confirmation.confirmedReplicas,
      wantedReplicas: chunk.wantedReplicas,
      reachedQuorum: confirmation.reachedQuorum,
    },
  );
}
