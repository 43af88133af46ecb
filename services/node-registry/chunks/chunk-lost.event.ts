import { ChunkLostSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import type { ReplicaLossCause } from "#gen/decentrastore/node_registry/v1/chunk_pb.ts";
import { newEvent, type OutboxEvent } from "#platform/outbox/outbox.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { LockedChunk } from "./report-outcomes.ts";

export interface LossNumbers {
  readonly confirmedReplicas: number;
  readonly eventVersion: bigint;
}

export function chunkLost(
  clock: Clock,
  chunk: LockedChunk,
  numbers: LossNumbers,
  by: { readonly nodeId: string; readonly cause: ReplicaLossCause },
): OutboxEvent {
  return newEvent(
    ChunkLostSchema,
    {
      subject: `decentrastore.chunk.lost.${chunk.chunkHash}`,
      key: chunk.chunkHash,
      keyVersion: numbers.eventVersion,
      clock,
    },
    {
      chunkHash: chunk.chunkHash,
      userId: chunk.ownerId,
      generation: chunk.generation,
      nodeId: by.nodeId,
      cause: by.cause,
      sizeBytes: chunk.sizeBytes,
      confirmedReplicas: numbers.confirmedReplicas,
      wantedReplicas: chunk.wantedReplicas,
    },
  );
}
