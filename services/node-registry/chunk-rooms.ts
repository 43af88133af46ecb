import type { ServiceImpl } from "@connectrpc/connect";
import { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import { isDatabaseUnavailable } from "#platform/postgres/errors.ts";
import { overloaded } from "#platform/rpc/errors.ts";
import { implement } from "#platform/rpc/service.ts";
import { getUpload } from "./chunks/get-upload.rpc.ts";
import { getUserUsage } from "./chunks/get-user-usage.rpc.ts";
import { createGroupCommit } from "./chunks/group-commit.ts";
import { listUnderReplicatedChunks } from "./chunks/list-under-replicated-chunks.rpc.ts";
import { locateChunks } from "./chunks/locate-chunks.rpc.ts";
import { createNodeCommands, type NodeCommands } from "./chunks/node-commands.ts";
import { type NamedReport, recordStored } from "./chunks/record-stored.worker.ts";
import { releaseChunks } from "./chunks/release-chunks.rpc.ts";
import { reportBucket } from "./chunks/report-bucket.rpc.ts";
import { reportChunkDigests } from "./chunks/report-chunk-digests.rpc.ts";
import { reportDeletedChunks } from "./chunks/report-deleted-chunks.rpc.ts";
import { reportLostChunks } from "./chunks/report-lost-chunks.rpc.ts";
import type { StoredOutcome } from "./chunks/report-outcomes.ts";
import { reportStoredChunks } from "./chunks/report-stored-chunks.rpc.ts";
import type { ChunkHooks, ChunkRooms, Deps } from "./deps.ts";
import { startChunkWorkers } from "./placement/chunk-workers.worker.ts";
import { explainPlacement } from "./placement/explain-placement.rpc.ts";
import { placeChunks } from "./placement/place-chunks.rpc.ts";
import { createPlacer, type Placer } from "./placement/placer.ts";
import { replaceNodes } from "./placement/replace-nodes.rpc.ts";

export interface AssembledChunkRooms extends ChunkRooms {
  readonly placer: Placer;
  readonly commands: NodeCommands;
  /** The handlers of ChunkService, for tests that call them without a server. */
  readonly rpcs: ServiceImpl<typeof ChunkService>;
}

/** The chunk rooms (chunks/ and placement/), put together for service.ts. */
export function createChunkRooms(deps: Deps, hooks: ChunkHooks = {}): AssembledChunkRooms {
  const placer = createPlacer(deps);
  const commands = createNodeCommands(deps.clock);
  const rooms = { ...deps, placer, commands, submitStored: storedCommits(deps) };
  const rpcs = chunkRpcs(rooms);
  return {
    placer,
    commands,
    rpcs,
    services: [implement(ChunkService, rpcs)],
    nodeRpcs: {
      reportStoredChunks: reportStoredChunks(rooms),
      reportDeletedChunks: reportDeletedChunks({ ...rooms, ...hooks }),
      reportLostChunks: reportLostChunks({ ...rooms, ...hooks }),
      reportChunkDigests: reportChunkDigests(rooms),
      reportBucket: reportBucket(rooms),
    },
    commandsFor: commands.commandsFor,
    onHeartbeat: (nodeId, { chunkDigest }) => commands.onHeartbeat(nodeId, chunkDigest),
    startWorkers: (signal, nats) => startChunkWorkers({ ...rooms, nats }, signal),
  };
}

function chunkRpcs(deps: Deps & { readonly placer: Placer }) {
  return {
    placeChunks: placeChunks(deps),
    replaceNodes: replaceNodes(deps),
    locateChunks: locateChunks(deps),
    getUpload: getUpload(deps),
    releaseChunks: releaseChunks(deps),
    getUserUsage: getUserUsage(deps),
    listUnderReplicatedChunks: listUnderReplicatedChunks(deps),
    explainPlacement: explainPlacement(deps),
  } satisfies ServiceImpl<typeof ChunkService>;
}

/** Everybody who reports stored chunks at the same time shares a transaction. */
function storedCommits(deps: Deps) {
  return createGroupCommit<NamedReport, StoredOutcome>({
    maxItems: 2_000,
    maxRunning: 1,
    maxWaiting: 50_000,
    commit: (reports) => transact(deps, (tx) => recordStored(deps, tx, reports)),
    refusal: () => overloaded("too many chunk reports are waiting, try again", 500),
    isWorthSplitting: (error) => !isDatabaseUnavailable(error),
  });
}
