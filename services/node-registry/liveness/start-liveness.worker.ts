import type { Nats } from "#platform/nats/connect.ts";
import type { Gate } from "#platform/postgres/gate.ts";
import { backgroundOf } from "#platform/postgres/pool.ts";
import type { ChunkRooms, Deps } from "../deps.ts";
import type { Authorities } from "../enrollment/authorities.worker.ts";
import { createEpochClaims } from "./epoch-claims.worker.ts";
import type { HeartbeatDeps } from "./heartbeats.worker.ts";
import { startInstance } from "./instance.worker.ts";
import { startLeaseWriter } from "./lease-writer.worker.ts";
import { createNodeStreams } from "./node-streams.ts";
import { startSweeper } from "./sweeper.worker.ts";
import { livenessTimes } from "./times.ts";

export interface Liveness extends AsyncDisposable {
  readonly heartbeatDeps: HeartbeatDeps;
  /** Registry processes on this database. */
  aliveCount(): number;
  /** Throws while heartbeats cannot be written: the process should get no new nodes. */
  assertKeepsUp(): void;
}

export interface LivenessDeps extends Deps {
  readonly nats: Nats;
  readonly chunkRooms: ChunkRooms;
  readonly authorities: Authorities;
  readonly writes: Gate;
}

/** The writer, the sweeper and this process's own lease. */
export async function startLiveness(deps: LivenessDeps): Promise<Liveness> {
  const { config, clock, chunkRooms } = deps;
  const times = livenessTimes(config.NODE_LEASE_TTL);
  await using stack = new AsyncDisposableStack();
  // However many calls wait for a connection, what nodes have said is written.
  const apart = { ...deps, pool: backgroundOf(deps.pool) };
  const instance = stack.use(await startInstance(apart, times));
  const leases = stack.use(
    startLeaseWriter({
      ...apart,
      intervalMs: config.NODE_HEARTBEAT_INTERVAL,
      onWritten: (nodeId, { figures }) =>
        chunkRooms.onHeartbeat(nodeId, { chunkCount: figures.chunkCount, chunkDigest: figures.chunkDigest }),
    }),
  );
  const stop = new AbortController();
  const sweeping = startSweeper({ ...apart, unwritten: leases.unwritten }, times, stop.signal);
  stack.defer(async () => {
    stop.abort();
    await sweeping;
  });
  const streams = createNodeStreams({
    claims: createEpochClaims(apart),
    clock,
    maxPerNode: config.NODE_MAX_STREAMS,
  });
  deps.metrics.gauge({ name: "node_streams", help: "Open heartbeat streams." }, (gauge) => gauge.set(streams.count()));
  const rest = stack.move();
  return {
    heartbeatDeps: {
      ...deps,
      leases,
      streams,
      ownCommands: {
        clock,
        certificateTtlMs: config.NODE_CERTIFICATE_TTL,
        issuingAuthorityId: () => deps.authorities.issuing().id,
      },
    },
    aliveCount: () => instance.aliveCount(),
    assertKeepsUp: () => {
      if (leases.behindMs() > times.lateMs) throw new Error("heartbeats cannot be written");
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}
