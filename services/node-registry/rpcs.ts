import type { ServiceImpl } from "@connectrpc/connect";
import { EnrollmentService } from "#gen/decentrastore/node_registry/v1/enrollment_service_pb.ts";
import { NodeDirectoryService } from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { implement, type RpcService } from "#platform/rpc/service.ts";
import { unimplemented } from "#platform/rpc/unimplemented.ts";
import type { Deps } from "./deps.ts";
import { getNode } from "./directory/get-node.rpc.ts";
import { listNodes } from "./directory/list-nodes.rpc.ts";
import { createJoinToken } from "./enrollment/create-join-token.rpc.ts";
import { enrollNode } from "./enrollment/enroll-node.rpc.ts";
import type { EnrollmentDeps } from "./enrollment/enrollment-deps.ts";
import { renewCertificate } from "./enrollment/renew-certificate.rpc.ts";
import { revokeJoinToken } from "./enrollment/revoke-join-token.rpc.ts";
import { heartbeat } from "./liveness/heartbeat.rpc.ts";
import type { HeartbeatDeps } from "./liveness/heartbeats.ts";
import { streamHeartbeats } from "./liveness/stream-heartbeats.rpc.ts";

export function enrollmentService(deps: EnrollmentDeps): RpcService {
  const rpcs = {
    createJoinToken: createJoinToken(deps),
    revokeJoinToken: revokeJoinToken(deps),
    enrollNode: enrollNode(deps),
  } satisfies ServiceImpl<typeof EnrollmentService>;
  return implement(EnrollmentService, rpcs);
}

export function directoryService(deps: Deps): RpcService {
  const { method } = NodeDirectoryService;
  const rpcs = {
    getNode: getNode(deps),
    listNodes: listNodes(deps),
    watchNodes: unimplemented(method.watchNodes),
    getNetworkStats: unimplemented(method.getNetworkStats),
    setNodeState: unimplemented(method.setNodeState),
    resetReputation: unimplemented(method.resetReputation),
    resumeSweep: unimplemented(method.resumeSweep),
    explainNode: unimplemented(method.explainNode),
  } satisfies ServiceImpl<typeof NodeDirectoryService>;
  return implement(NodeDirectoryService, rpcs);
}

/** The node edge: everything that a storage node says. */
export function nodeService(deps: HeartbeatDeps & EnrollmentDeps): RpcService {
  const rpcs = {
    heartbeat: heartbeat(deps),
    streamHeartbeats: streamHeartbeats(deps),
    ...deps.chunkRooms.nodeRpcs,
    submitStorageProof: unimplemented(NodeService.method.submitStorageProof),
    renewCertificate: renewCertificate(deps),
    deregister: unimplemented(NodeService.method.deregister),
  } satisfies ServiceImpl<typeof NodeService>;
  return implement(NodeService, rpcs, { highRate: ["heartbeat", "reportStoredChunks"] });
}
