import { randomUUID } from "node:crypto";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { createServiceClient } from "#platform/identity/service-client.ts";
import { createServiceTokenSource } from "#platform/identity/service-token-source.ts";
import { startVerifier } from "#platform/identity/start-verifier.ts";
import type { TokenVerifier } from "#platform/identity/token-verifier.ts";
import type { RunningMain } from "#platform/lifecycle/run-main.ts";
import { type RunningService, serveService } from "#platform/lifecycle/serve-service.ts";
import { createLogger, type Logger } from "#platform/log/logger.ts";
import { requireSchema } from "#platform/migrations/require-schema.ts";
import { connectNats, type Nats } from "#platform/nats/connect.ts";
import { streamSettingsOf } from "#platform/nats/stream-settings.ts";
import { databaseService } from "#platform/ops/database-service.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { createOutbox } from "#platform/outbox/outbox.ts";
import { startRelay } from "#platform/outbox/relay.worker.ts";
import { startMaintenance } from "#platform/postgres/maintenance.worker.ts";
import { openServicePool } from "#platform/postgres/open-service-pool.ts";
import { type Clock, systemClock } from "#platform/time/clock.ts";
import { createChunkRooms } from "./chunk-rooms.ts";
import type { NodeRegistryConfig } from "./config.ts";
import type { ChunkHooks, ChunkRooms, Deps } from "./deps.ts";
import { type Directory, startDirectory } from "./directory/directory.worker.ts";
import { createDirectoryWrites } from "./directory/directory-writes.worker.ts";
import { startDirectoryUpkeep } from "./directory/upkeep.worker.ts";
import { openAuthorities } from "./enrollment/authorities.worker.ts";
import { AUTHORITIES_POLL_MS, makeEdgeCertificates } from "./enrollment/edge-certificates.worker.ts";
import { startEdgeUpkeep } from "./enrollment/edge-upkeep.worker.ts";
import { type RotationTimes, rotationTimes } from "./enrollment/rotation.worker.ts";
import { joinRooms } from "./join-rooms.ts";
import { startLiveness } from "./liveness/start-liveness.worker.ts";
import { createProofRooms, type ProofRooms } from "./proof-rooms.ts";
import { createRepairRooms, repairHooks } from "./repair-rooms.ts";
import { directoryService, enrollmentService, nodeService } from "./rpcs.ts";

const SCHEMA = "node_registry";
const MAX_EDGE_MESSAGE_BYTES = 4 * 1024 * 1024;
const QUOTA_TIMEOUT_MS = 5_000;

export interface NodeRegistryParts {
  readonly clock?: Clock;
  readonly log?: Logger;
  /** Instead of auth's keys. */
  readonly verifier?: TokenVerifier;
  readonly rotation?: RotationTimes;
  readonly authoritiesPollMs?: number;
  readonly watcherStallMs?: number;
  readonly chunkRooms?: (deps: Deps, hooks?: ChunkHooks) => ChunkRooms;
}

/** The whole service; disposing it is the clean stop: calls first, then batches, then broker and database. */
export async function startNodeRegistry(
  config: NodeRegistryConfig,
  signal: AbortSignal,
  parts: NodeRegistryParts = {},
): Promise<RunningMain> {
  const clock = parts.clock ?? systemClock;
  const log = parts.log ?? createLogger("node-registry", config.LOG_LEVEL);
  const metrics = createMetrics("node-registry", { withProcess: parts.log === undefined });
  await using stack = new AsyncDisposableStack();
  const pool = await openServicePool(config, { schema: SCHEMA, log, metrics, signal });
  stack.defer(() => pool.end());
  const nats = stack.use(
    await connectNats({
      url: config.NATS_URL.reveal(),
      name: "node-registry",
      streamSettings: streamSettingsOf(config),
      log,
      signal,
    }),
  );
  const outbox = createOutbox(SCHEMA);
  // Workers run until the stack is disposed and not until the caller's signal, which comes before the calls have ended.
  const ended = new AbortController();
  stack.defer(() => ended.abort());
  const shared = { pool, schema: SCHEMA, clock, log, metrics, signal: ended.signal } as const;
  stack.use(startMaintenance(shared));
  stack.use(startRelay({ ...shared, nats, streams: ["NODES", "CHUNKS", "NODE_HEARTBEATS"], outbox }));
  const userQuota = stack.use(userQuotaClient(config, clock));
  const figuresPeriodMs = config.NODE_HEARTBEAT_INTERVAL;
  const directory = stack.use(await startDirectory({ pool, clock, log, figuresPeriodMs }, ended.signal));
  const base = { config, instanceId: randomUUID(), pool, outbox, clock, random: Math.random, log, metrics, userQuota };
  const deps: Deps = { ...base, view: directory.view };
  const proofRooms = createProofRooms(deps);
  const { probationBelow } = proofRooms.rules.thresholds;
  const probationMs = config.NODE_PROBATION_PERIOD;
  stack.use(startDirectoryUpkeep({ ...deps, probationBelow, probationMs }, ended.signal));
  const chunkRooms = await startRooms({ deps, nats, proofRooms }, parts, stack, ended.signal);
  const identity = { authUrl: config.AUTH_URL, issuer: config.AUTH_ISSUER };
  const verifier = parts.verifier ?? stack.use(await startVerifier({ ...identity, nats, clock, log, metrics, signal }));
  const rooms = { deps, nats, chunkRooms, proofRooms, directory, verifier, parts, ended };
  const running = await serveRooms(rooms, stack);
  const rest = stack.move();
  return { addresses: running.addresses, [Symbol.asyncDispose]: () => rest.disposeAsync() };
}

/** The rooms above liveness, with their workers. */
async function startRooms(
  { deps, nats, proofRooms }: Pick<Rooms, "deps" | "nats" | "proofRooms">,
  parts: NodeRegistryParts,
  stack: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<ChunkRooms> {
  const hooks = { ...repairHooks(deps), onLossReported: proofRooms.onLossReported };
  const chunkRooms = (parts.chunkRooms ?? createChunkRooms)(deps, hooks);
  stack.use(await chunkRooms.startWorkers(signal, nats));
  stack.use(proofRooms.startWorkers(signal));
  const repairRooms = chunkRooms.placer === undefined ? undefined : createRepairRooms(deps, chunkRooms.placer);
  if (repairRooms !== undefined) stack.use(repairRooms.startWorkers(signal));
  return joinRooms(deps, chunkRooms, proofRooms, repairRooms);
}

function userQuotaClient(config: NodeRegistryConfig, clock: Clock) {
  const tokens = createServiceTokenSource({
    authUrl: config.AUTH_URL,
    clientId: config.SERVICE_CLIENT_ID,
    clientSecret: config.SERVICE_CLIENT_SECRET,
    clock,
  });
  return createServiceClient(UserQuotaService, {
    baseUrl: config.USER_QUOTA_URL,
    tokens,
    timeoutMs: QUOTA_TIMEOUT_MS,
    // Both are keyed: by idempotency_key and by reservation_id.
    idempotent: ["reserveStorage", "releaseReservation"],
  });
}

function encryptionKeys(config: NodeRegistryConfig): [Uint8Array, ...Uint8Array[]] {
  const previous = config.KEY_ENCRYPTION_KEY_PREVIOUS;
  return [config.KEY_ENCRYPTION_KEY.reveal(), ...(previous === undefined ? [] : [previous.reveal()])];
}

interface Rooms {
  readonly deps: Deps;
  readonly nats: Nats;
  readonly chunkRooms: ChunkRooms;
  readonly proofRooms: ProofRooms;
  readonly directory: Directory;
  readonly verifier: TokenVerifier;
  readonly parts: NodeRegistryParts;
  readonly ended: AbortController;
}

/** The upper rooms and the ports. What is put on the stack later is stopped earlier. */
async function serveRooms(rooms: Rooms, stack: AsyncDisposableStack): Promise<RunningService> {
  const { deps, nats, chunkRooms, proofRooms } = rooms;
  const { config, pool, clock, log, metrics } = deps;
  const authoritiesDeps = { pool, clock, log, encryptionKeys: encryptionKeys(config) };
  const authorities = await openAuthorities(authoritiesDeps);
  const writes = createDirectoryWrites();
  const liveness = stack.use(await startLiveness({ ...deps, nats, chunkRooms, authorities, writes }));
  rooms.directory.sharesWith(() => liveness.aliveCount());
  const pollMs = rooms.parts.authoritiesPollMs ?? AUTHORITIES_POLL_MS;
  const edgeDeps = { authorities, clock, log, names: config.NODE_EDGE_NAMES, pollMs };
  const certificates = await makeEdgeCertificates(edgeDeps);
  const { watcherStallMs } = rooms.parts;
  const watching = watcherStallMs === undefined ? {} : { watcherStallMs };
  const running = await serveService({
    name: "node-registry",
    config,
    log,
    metrics,
    clock,
    services: [
      enrollmentService({ ...deps, authorities, writes }),
      directoryService({
        ...deps,
        chunkRooms,
        proofRooms,
        directory: rooms.directory,
        ring: rooms.directory.ring,
        ...watching,
      }),
      ...chunkRooms.services,
      databaseService({ pool, schema: SCHEMA, log }),
    ],
    verifier: rooms.verifier,
    readiness: {
      database: () => requireSchema(pool, SCHEMA),
      heartbeats: () => liveness.assertKeepsUp(),
    },
    nodeEdge: {
      port: config.NODE_EDGE_PORT,
      services: [nodeService({ ...liveness.heartbeatDeps, authorities, proofRooms })],
      certificates,
      limits: { maxMessageBytes: MAX_EDGE_MESSAGE_BYTES },
    },
  });
  // As soon as the calls have ended all workers stop at the same time: one after the other their last rounds add up.
  stack.defer(() => rooms.ended.abort());
  stack.use(running);
  stack.use(
    startEdgeUpkeep({ ...authoritiesDeps, ...edgeDeps }, rooms.parts.rotation ?? rotationTimes, certificates, (next) =>
      running.setNodeEdgeCertificates(next),
    ),
  );
  return running;
}
