import type { MethodImpl } from "@connectrpc/connect";
import { z } from "zod";
import type { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { nextPageToken, pageOf } from "#platform/rpc/paging.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { Deps } from "../deps.ts";
import { findNodes } from "./endpoints.store.ts";
import { type Replica, readReplicas } from "./replicas.store.ts";
import { listUnderReplicated, type UnderReplicatedRow } from "./under-replicated.store.ts";

const zCursor = z.tuple([
  z.int().min(0).max(32_767),
  z.int().min(0).max(32_767),
  // Up to the year 5138: PostgreSQL does not read the form of instants behind 9999.
  z.string().regex(/^\d{1,17}$/),
  z.string().regex(/^[0-9a-f]{64}$/),
]);

export function listUnderReplicatedChunks(
  deps: Pick<Deps, "pool" | "view">,
): MethodImpl<typeof ChunkService.method.listUnderReplicatedChunks> {
  return async (request) => {
    const { limit, after } = pageOf(request, zCursor);
    const rows = await listUnderReplicated(deps.pool, after === undefined ? undefined : fromCursor(after), limit);
    const replicas = await readReplicas(
      deps.pool,
      rows.map((row) => row.chunk_hash),
    );
    const nodes = await findNodes(
      deps,
      replicas.map((replica) => replica.nodeRowId),
    );
    const byHash = Map.groupBy(replicas, (replica) => replica.chunkHash);
    const namesOf = (hash: string, isMeant: (replica: Replica) => boolean) =>
      (byHash.get(hash) ?? []).filter(isMeant).map((replica) => nodes.get(replica.nodeRowId)?.nodeId ?? "");
    return {
      chunks: rows.map((row) => ({
        chunkHash: row.chunk_hash,
        userId: row.owner_id,
        generation: row.generation,
        sizeBytes: row.size_bytes,
        wantedReplicas: row.wanted_replicas,
        confirmedReplicas: row.confirmed_replicas,
        liveReplicas: row.live_replicas,
        nodeIds: namesOf(row.chunk_hash, ({ state }) => state === "confirmed"),
        repairingNodeIds: namesOf(row.chunk_hash, ({ state, isRepair }) => isRepair && state === "assigned"),
        underReplicatedSince: toTimestamp(row.since),
      })),
      nextPageToken: nextPageToken(rows, limit, toCursor),
    };
  };
}

function toCursor(row: UnderReplicatedRow): z.infer<typeof zCursor> {
  // Microseconds, as the database keeps them: a rounded instant would skip or repeat rows.
  return [row.live_replicas, row.wanted_replicas, String(row.since.epochNanoseconds / 1_000n), row.chunk_hash];
}

function fromCursor([liveReplicas, wantedReplicas, since, chunkHash]: z.infer<typeof zCursor>) {
  return {
    liveReplicas,
    wantedReplicas,
    since: Temporal.Instant.fromEpochNanoseconds(BigInt(since) * 1_000n),
    chunkHash,
  };
}
