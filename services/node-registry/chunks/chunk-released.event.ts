import { ChunkReleasedSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { newEvent, type OutboxEvent } from "#platform/outbox/outbox.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { LockedChunk } from "./report-outcomes.ts";

/** The chunk as it was before its life ended. */
export function chunkReleased(clock: Clock, chunk: LockedChunk): OutboxEvent {
  return newEvent(
    ChunkReleasedSchema,
    {
      subject: `decentrastore.chunk.released.${chunk.chunkHash}`,
      key: chunk.chunkHash,
      keyVersion: chunk.eventVersion + 1n,
      clock,
    },
    {
      chunkHash: chunk.chunkHash,
      userId: chunk.ownerId,
      generation: chunk.generation,
      sizeBytes: chunk.sizeBytes,
      charged: chunk.hasQuorum,
    },
  );
}
