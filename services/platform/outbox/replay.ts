import { type StreamName, streamDefinitions } from "#platform/nats/streams.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { subjectPrefixes, unpublishAll } from "./stream-recovery.ts";

export interface ReplayOptions {
  pool: Pool;
  schema: string;
  /** Only events made at or after this time; everything the outbox holds without it. */
  since?: Temporal.Instant;
  stream?: StreamName;
  signal?: AbortSignal;
}

/**
 * Takes the published mark off outbox rows, so that the service's relay publishes them again, in order; answers how many.
 * Consumers drop what they applied before. What was published within the last two minutes is still known to the broker
 * by its id, which then acknowledges it without storing it twice.
 */
export async function replayEvents({ pool, schema, since, stream, signal }: ReplayOptions): Promise<number> {
  if (stream !== undefined && streamDefinitions[stream].special?.max_msgs_per_subject === 1) return 0;
  const filter = {
    ...(stream === undefined ? {} : { prefixes: subjectPrefixes([stream]) }),
    ...(since === undefined ? {} : { since }),
  };
  return await unpublishAll(pool, schema, filter, signal);
}
