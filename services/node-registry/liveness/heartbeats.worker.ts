import { Code } from "@connectrpc/connect";
import type { NodeCommand } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import type { NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import type { Gate } from "#platform/postgres/gate.ts";
import type { CertificateInUse } from "#platform/rpc/caller.ts";
import { dependencyUnavailable } from "#platform/rpc/errors.ts";
import { toDuration, toTimestamp } from "#platform/rpc/time.ts";
import type { ChunkRooms, Deps } from "../deps.ts";
import { assertAdmitted } from "../directory/calling-node.worker.ts";
import { createChangeGuard } from "../directory/change-guard.ts";
import { type NodeRecord, toProtoNodeState } from "../directory/node-record.ts";
import { isProfileChange, setProfile } from "../directory/set-profile.worker.ts";
import { registryError } from "../errors.ts";
import { checkHeartbeat, type HeartbeatFields } from "./heartbeat-request.ts";
import type { LeaseWriter } from "./lease-writer.worker.ts";
import type { NodeStreams } from "./node-streams.ts";
import { type OwnCommandsDeps, ownCommands } from "./own-commands.ts";
import type { RateGuard } from "./rate-guard.ts";
import type { BeatSource } from "./write-beats.worker.ts";

const MAX_COMMANDS = 16;
const JITTER = 0.1;

/** What the heartbeat RPCs are made of. */
export interface HeartbeatDeps extends Deps {
  readonly leases: LeaseWriter;
  readonly streams: NodeStreams;
  readonly chunkRooms: ChunkRooms;
  readonly ownCommands: OwnCommandsDeps;
  /** Admits changes of the directory (`createDirectoryWrites`). */
  readonly writes: Gate;
}

/**
 * Takes one heartbeat, or throws why not. It is a promise only where the node declares something new, which is stored
 * before the answer; figures and lease are written within the next flush.
 */
export function acceptHeartbeat(
  deps: HeartbeatDeps,
  source: BeatSource & { readonly rate: RateGuard },
  request: HeartbeatFields,
): Promise<void> | undefined {
  assertAdmitted(source.node);
  checkHeartbeat(request, deps.config.NODE_ALLOW_PRIVATE_ADDRESSES);
  if (deps.config.NODE_HEARTBEAT_MIN_INTERVAL > 0 && !source.rate.admits(deps.clock.monotonicMs())) {
    throw registryError(
      Code.ResourceExhausted,
      "HEARTBEAT_RATE_EXCEEDED",
      "more than 50 heartbeats per second for 10 seconds",
      { retryAfterMs: deps.config.NODE_HEARTBEAT_INTERVAL },
    );
  }
  assertKeepsUp(deps);
  const isChange = isProfileChange(source.node, request);
  if (isChange && !admitsProfile(source.node, deps.clock.monotonicMs())) throw changedTooOften();
  deps.leases.beat(source, request);
  return isChange ? deps.writes.run(() => setProfile(deps, source.node, request)) : undefined;
}

const admitsProfile = createChangeGuard(5);

function changedTooOften(): Error {
  return registryError(
    Code.ResourceExhausted,
    "HEARTBEAT_RATE_EXCEEDED",
    "address or software_version changes too often: once in 10 seconds",
    { retryAfterMs: 10_000 },
  );
}

/**
 * A process that cannot write for half a lease sends its nodes to another one: there they are heard before their leases,
 * as the database sees them, run out.
 */
function assertKeepsUp(deps: HeartbeatDeps): void {
  if (deps.leases.behindMs() <= deps.config.NODE_LEASE_TTL / 2) return;
  throw dependencyUnavailable("heartbeats cannot be stored at the moment");
}

export interface HeartbeatAnswer {
  readonly nextHeartbeatIn: ReturnType<typeof toDuration>;
  readonly serverTime: ReturnType<typeof toTimestamp>;
  readonly state: NodeState;
  readonly commands: NodeCommand[];
}

export function heartbeatAnswer(
  deps: HeartbeatDeps,
  node: NodeRecord,
  certificate: CertificateInUse | undefined,
): HeartbeatAnswer {
  return {
    nextHeartbeatIn: toDuration(Math.round(nextHeartbeatMs(deps))),
    serverTime: toTimestamp(deps.clock.now()),
    state: toProtoNodeState(node.state),
    commands: commandsFor(deps, node, certificate),
  };
}

function commandsFor(deps: HeartbeatDeps, node: NodeRecord, certificate: CertificateInUse | undefined): NodeCommand[] {
  const own = ownCommands(deps.ownCommands, node, certificate);
  return [...own, ...deps.chunkRooms.commandsFor(node.nodeId, MAX_COMMANDS - own.length)];
}

/** Jitter keeps nodes that came together from beating together; slow flushes stretch it, up to a third of the lease. */
function nextHeartbeatMs(deps: HeartbeatDeps): number {
  const { NODE_HEARTBEAT_INTERVAL: intervalMs, NODE_LEASE_TTL: leaseTtlMs } = deps.config;
  const load = Math.max(1, deps.leases.lastFlushMs() / 250);
  const stretched = Math.min(intervalMs * load, Math.max(intervalMs, leaseTtlMs / 3));
  return stretched * (1 - JITTER + 2 * JITTER * deps.random());
}
