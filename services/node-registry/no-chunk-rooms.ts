import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { unimplemented } from "#platform/rpc/unimplemented.ts";
import type { ChunkRooms } from "./deps.ts";

/** A registry of nodes alone: what tests of the lower rooms run with. */
export function noChunkRooms(): ChunkRooms {
  const { method } = NodeService;
  return {
    services: [],
    nodeRpcs: {
      reportStoredChunks: unimplemented(method.reportStoredChunks),
      reportDeletedChunks: unimplemented(method.reportDeletedChunks),
      reportLostChunks: unimplemented(method.reportLostChunks),
      reportChunkDigests: unimplemented(method.reportChunkDigests),
      reportBucket: unimplemented(method.reportBucket),
    },
    commandsFor: () => [],
    onHeartbeat: () => {},
    startWorkers: async () => ({ [Symbol.asyncDispose]: async () => {} }),
  };
}
