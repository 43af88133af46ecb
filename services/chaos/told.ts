import { fromBinary } from "@bufbuild/protobuf";
import { z } from "zod";
import { ChunkLostSchema, ChunkStoredSchema, QuotaThresholdSchema } from "#gen/decentrastore/events/v1/events_pb.ts";

/** What events say besides their names, in the order of their outbox. */
export interface Told {
  readonly thresholds: readonly { readonly userId: string; readonly percent: number }[];
  readonly stored: readonly {
    readonly chunkHash: string;
    readonly generation: number;
    readonly nodeId: string;
    readonly reachedQuorum: boolean;
    readonly confirmedReplicas: number;
    readonly wantedReplicas: number;
  }[];
  /** Confirmed replicas that stopped counting; a node that comes back may confirm its own again. */
  readonly lost: readonly { readonly chunkHash: string; readonly generation: number; readonly nodeId: string }[];
}

const row = z.object({ payload: z.instanceof(Uint8Array) });

const payloads = (schema: string, type: string) =>
  `select payload from ${schema}.outbox where type = 'decentrastore.events.v1.${type}' order by id`;

export async function readTold(read: <T>(row: z.ZodType<T>, query: string) => Promise<T[]>): Promise<Told> {
  const thresholds = await read(row, payloads("user_quota", "QuotaThreshold"));
  const stored = await read(row, payloads("node_registry", "ChunkStored"));
  const lost = await read(row, payloads("node_registry", "ChunkLost"));
  return {
    lost: lost.map(({ payload }) => {
      const { chunkHash, generation, nodeId } = fromBinary(ChunkLostSchema, payload);
      return { chunkHash, generation, nodeId };
    }),
    thresholds: thresholds.map(({ payload }) => {
      const { userId, thresholdPercent } = fromBinary(QuotaThresholdSchema, payload);
      return { userId, percent: thresholdPercent };
    }),
    stored: stored.map(({ payload }) => {
      const event = fromBinary(ChunkStoredSchema, payload);
      const { chunkHash, generation, nodeId, reachedQuorum, confirmedReplicas, wantedReplicas } = event;
      return { chunkHash, generation, nodeId, reachedQuorum, confirmedReplicas, wantedReplicas };
    }),
  };
}
