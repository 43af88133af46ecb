import {
  ChunkStoredSchema,
  type UploadCompleted,
  UploadCompletedSchema,
  type UploadExpired,
  UploadExpiredSchema,
} from "#gen/decentrastore/events/v1/events_pb.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { eventsOf } from "./chunk-events.ts";

/** What the uploads that are over told last, by their reservations. */
export async function endsByReservation(pool: Pool): Promise<ReadonlyMap<string, UploadCompleted | UploadExpired>> {
  const ends = [...(await eventsOf(pool, UploadCompletedSchema)), ...(await eventsOf(pool, UploadExpiredSchema))];
  return new Map(ends.filter((end) => end.reservationId !== "").map((end) => [end.reservationId, end]));
}

/**
 * Reservations that user-quota would not close with exactly what is posted to them, once nobody waits for a chunk any
 * more; a test expects [].
 */
export async function unsettledReservations(pool: Pool): Promise<readonly string[]> {
  const posted = new Map<string, bigint>();
  for (const { reservationId, reachedQuorum, sizeBytes } of await eventsOf(pool, ChunkStoredSchema)) {
    if (reachedQuorum) posted.set(reservationId, (posted.get(reservationId) ?? 0n) + sizeBytes);
  }
  return [...(await endsByReservation(pool))].flatMap(([reservationId, { chargedBytes, uploadId }]) => {
    const bytes = posted.get(reservationId) ?? 0n;
    return bytes === chargedBytes ? [] : [`upload ${uploadId} told of ${chargedBytes} bytes, ${bytes} were posted`];
  });
}
