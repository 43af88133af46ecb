import type { ServiceImpl } from "@connectrpc/connect";
import { EnrollmentService } from "#gen/decentrastore/node_registry/v1/enrollment_service_pb.ts";
import { NodeDirectoryService } from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { implement, type RpcService } from "#platform/rpc/service.ts";
import type { ChunkRooms, Deps } from "./deps.ts";
import { getNode } from "./directory/get-node.rpc.ts";
import { type ListDeps, listNodes } from "./directory/list-nodes.rpc.ts";
import { setNodeState } from "./directory/set-node-state.rpc.ts";
import { type WatchDeps, watchNodes } from "./directory/watch-nodes.rpc.ts";
import { createJoinToken } from "./enrollment/create-join-token.rpc.ts";
import { deregister } from "./enrollment/deregister.rpc.ts";
import { enrollNode } from "./enrollment/enroll-node.rpc.ts";
import type { EnrollmentDeps } from "./enrollment/enrollment-deps.ts";
import { renewCertificate } from "./enrollment/renew-certificate.rpc.ts";
import { revokeJoinToken } from "./enrollment/revoke-join-token.rpc.ts";
import { explainNode } from "./liveness/explain-node.rpc.ts";
import { getNetworkStats } from "./liveness/get-network-stats.rpc.ts";
import { heartbeat } from "./liveness/heartbeat.rpc.ts";
import type { HeartbeatDeps } from "./liveness/heartbeats.worker.ts";
import { resumeSweep } from "./liveness/resume-sweep.rpc.ts";
import { streamHeartbeats } from "./liveness/stream-heartbeats.rpc.ts";
import type { ProofRooms } from "./proof-rooms.ts";

export function enrollmentService(deps: EnrollmentDeps): RpcService {
  const rpcs = {
    createJoinToken: createJoinToken(deps),
    revokeJoinToken: revokeJoinToken(deps),
    enrollNode: enrollNode(deps),
  } satisfies ServiceImpl<typeof EnrollmentService>;
  return implement(EnrollmentService, rpcs);
}

export function directoryService(
  deps: Deps & WatchDeps & ListDeps & { readonly chunkRooms: ChunkRooms; readonly proofRooms: ProofRooms },
): RpcService {
  const rpcs = {
    getNode: getNode(deps),
    listNodes: listNodes(deps),
    watchNodes: watchNodes(deps),
    getNetworkStats: getNetworkStats(deps),
    setNodeState: setNodeState(deps),
    ...deps.proofRooms.directoryRpcs,
    resumeSweep: resumeSweep(deps),
    explainNode: explainNode(deps),
  } satisfies ServiceImpl<typeof NodeDirectoryService>;
  return implement(NodeDirectoryService, rpcs);
}

/** The node edge: everything that a storage node says. */
export function nodeService(deps: HeartbeatDeps & EnrollmentDeps & { readonly proofRooms: ProofRooms }): RpcService {
  const rpcs = {
    heartbeat: heartbeat(deps),
    streamHeartbeats: streamHeartbeats(deps),
    ...deps.chunkRooms.nodeRpcs,
    ...deps.proofRooms.nodeRpcs,
    renewCertificate: renewCertificate(deps),
    deregister: deregister(deps),
  } satisfies ServiceImpl<typeof NodeService>;
  return implement(NodeService, rpcs, { highRate: ["heartbeat", "reportStoredChunks", "submitStorageProof"] });
}
