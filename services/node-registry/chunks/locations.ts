import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ChunkLocationSchema } from "#gen/decentrastore/node_registry/v1/chunk_pb.ts";
import type { PlacementCandidate } from "../directory/network-view.ts";

type Location = MessageInitShape<typeof ChunkLocationSchema>;

/** The nodes of each chunk in the order of the replicas given; a node that has left the network is left out. */
export function toLocations(
  hashes: readonly string[],
  replicas: readonly { readonly chunkHash: string; readonly nodeRowId: bigint }[],
  nodes: ReadonlyMap<bigint, PlacementCandidate>,
): Location[] {
  const byHash = new Map<string, PlacementCandidate[]>(hashes.map((hash) => [hash, []]));
  for (const { chunkHash, nodeRowId } of replicas) {
    const node = nodes.get(nodeRowId);
    if (node !== undefined && node.state !== "deregistered") byHash.get(chunkHash)?.push(node);
  }
  return hashes.map((chunkHash) => ({
    chunkHash,
    nodes: (byHash.get(chunkHash) ?? []).map(({ nodeId, address }) => ({ nodeId, address })),
  }));
}
