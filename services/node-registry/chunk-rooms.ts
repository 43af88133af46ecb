import type { ServiceImpl } from "@connectrpc/connect";
import { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import { isDatabaseDown } from "#platform/postgres/errors.ts";
import { overloaded } from "#platform/rpc/errors.ts";
import { implement } from "#platform/rpc/service.ts";
import { unimplemented } from "#platform/rpc/unimplemented.ts";
import { getUpload } from "./chunks/get-upload.rpc.ts";
import { createGroupCommit } from "./chunks/group-commit.ts";
import { locateChunks } from "./chunks/locate-chunks.rpc.ts";
import { type NamedReport, recordStored } from "./chunks/record-stored.worker.ts";
import type { StoredOutcome } from "./chunks/report-outcomes.ts";
import { reportStoredChunks } from "./chunks/report-stored-chunks.rpc.ts";
import type { ChunkRooms, Deps } from "./deps.ts";
import { placeChunks } from "./placement/place-chunks.rpc.ts";
import { startPlacementWorkers } from "./placement/placement-workers.worker.ts";
import { createPlacer, type Placer } from "./placement/placer.ts";

export interface AssembledChunkRooms extends ChunkRooms {
  readonly placer: Placer;
  /** The handlers of ChunkService, for tests that call them without a server. */
  readonly rpcs: ServiceImpl<typeof ChunkService>;
}

/** The chunk rooms (chunks/ and placement/), put together for service.ts. */
export function createChunkRooms(deps: Deps): AssembledChunkRooms {
  const placer = createPlacer(deps);
  const submitStored = storedCommits(deps);
  const rpcs = chunkRpcs(deps, placer);
  const { method } = NodeService;
  return {
    placer,
    rpcs,
    services: [implement(ChunkService, rpcs)],
    nodeRpcs: {
      reportStoredChunks: reportStoredChunks({ ...deps, submitStored }),
      reportDeletedChunks: unimplemented(method.reportDeletedChunks),
      reportLostChunks: unimplemented(method.reportLostChunks),
      reportChunkDigests: unimplemented(method.reportChunkDigests),
      reportBucket: unimplemented(method.reportBucket),
    },
    commandsFor: () => [],
    onHeartbeat: () => {},
    startWorkers: (signal) => startPlacementWorkers({ ...deps, placer }, signal),
  };
}

function chunkRpcs(deps: Deps, placer: Placer) {
  const { method } = ChunkService;
  return {
    placeChunks: placeChunks({ ...deps, placer }),
    replaceNodes: unimplemented(method.replaceNodes),
    locateChunks: locateChunks(deps),
    getUpload: getUpload(deps),
    releaseChunks: unimplemented(method.releaseChunks),
    getUserUsage: unimplemented(method.getUserUsage),
    listUnderReplicatedChunks: unimplemented(method.listUnderReplicatedChunks),
    explainPlacement: unimplemented(method.explainPlacement),
  } satisfies ServiceImpl<typeof ChunkService>;
}

/** Everybody who reports stored chunks at the same time shares a transaction. */
function storedCommits(deps: Deps) {
  return createGroupCommit<NamedReport, StoredOutcome>({
    maxItems: 2_000,
    maxRunning: 2,
    maxWaiting: 50_000,
    commit: (reports) => transact(deps, (tx) => recordStored(deps, tx, reports)),
    refusal: () => overloaded("too many chunk reports are waiting, try again", 500),
    isWorthSplitting: (error) => !isDatabaseDown(error),
  });
}
