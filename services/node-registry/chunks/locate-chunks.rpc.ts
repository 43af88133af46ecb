import type { MethodImpl } from "@connectrpc/connect";
import type { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import type { LivenessName, PlacementCandidate } from "../directory/network-view.ts";
import { checkHashes } from "./check-hashes.ts";
import { findNodes } from "./endpoints.store.ts";
import { sortedHashes } from "./hashes.ts";
import { toLocations } from "./locations.ts";
import { readStoredReplicas } from "./replicas.store.ts";

// A client tries the nodes in this order.
const ORDER: Record<LivenessName, number> = { online: 0, suspect: 1, offline: 2, never_seen: 3 };
const LAST = 4;

export function locateChunks(deps: Pick<Deps, "pool" | "view">): MethodImpl<typeof ChunkService.method.locateChunks> {
  return async ({ chunkHashes }) => {
    validate((check) => checkHashes(check, chunkHashes, { max: 1_000 }));
    const rows = await readStoredReplicas(deps.pool, sortedHashes(chunkHashes));
    const known = new Set(rows.map((row) => row.chunkHash));
    const replicas = rows.flatMap(({ chunkHash, nodeRowId }) => (nodeRowId === null ? [] : [{ chunkHash, nodeRowId }]));
    const nodes = await findNodes(
      deps,
      replicas.map((replica) => replica.nodeRowId),
    );
    replicas.sort((a, b) => rankOf(nodes.get(a.nodeRowId)) - rankOf(nodes.get(b.nodeRowId)));
    const hashes = [...new Set(chunkHashes)].filter((hash) => known.has(hash));
    return { chunks: toLocations(hashes, replicas, nodes) };
  };
}

/** A disqualified node counts as online until its lease runs out, and what it holds until that is settled. */
function rankOf(node: PlacementCandidate | undefined): number {
  return node === undefined || node.state === "disqualified" ? LAST : ORDER[node.liveness];
}
