import { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { createServiceClient } from "#platform/identity/service-client.ts";
import { createServiceTokenSource } from "#platform/identity/service-token-source.ts";
import { startVerifier } from "#platform/identity/start-verifier.ts";
import { startConsumer } from "#platform/inbox/consumer.worker.ts";
import { consumptionOf } from "#platform/inbox/consumption.ts";
import type { RunningMain } from "#platform/lifecycle/run-main.ts";
import { serveService } from "#platform/lifecycle/serve-service.ts";
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
import { implement } from "#platform/rpc/service.ts";
import { type Clock, systemClock } from "#platform/time/clock.ts";
import { onUserChanged } from "./accounts/on-user-changed.event.ts";
import { onChunkFacts } from "./charges/on-chunk-facts.event.ts";
import type { UserQuotaConfig } from "./config.ts";
import type { Deps } from "./deps.ts";
import { startSampler } from "./reconciliation/sampler.worker.ts";
import { startSweeper } from "./reservations/sweeper.worker.ts";
import { userQuotaHandlers } from "./rpcs.ts";

const SCHEMA = "user_quota";
const CHUNKS = { stream: "CHUNKS", durable: "user-quota-chunks" } as const;
const REGISTRY_TIMEOUT_MS = 5_000;

export interface UserQuotaParts {
  readonly clock?: Clock;
  readonly log?: Logger;
}

/** The whole service; disposing it is the clean stop: calls first, then consumers and workers, then broker and database. */
export async function startUserQuota(
  config: UserQuotaConfig,
  signal: AbortSignal,
  parts: UserQuotaParts = {},
): Promise<RunningMain> {
  const clock = parts.clock ?? systemClock;
  const log = parts.log ?? createLogger("user-quota", config.LOG_LEVEL);
  const metrics = createMetrics("user-quota", { withProcess: parts.log === undefined });
  await using stack = new AsyncDisposableStack();
  const pool = await openServicePool(config, { schema: SCHEMA, log, metrics, signal });
  stack.defer(() => pool.end());
  const nats = stack.use(
    await connectNats({
      url: config.NATS_URL.reveal(),
      name: "user-quota",
      streamSettings: streamSettingsOf(config),
      log,
      signal,
    }),
  );
  const registry = stack.use(registryClient(config, clock));
  const defaultQuotaBytes = BigInt(config.DEFAULT_STORAGE_QUOTA_BYTES);
  const chunkConsumption = () => consumptionOf({ nats, clock }, CHUNKS);
  const known = { clock, log, metrics, registry, chunkConsumption, defaultQuotaBytes };
  const deps: Deps = { pool, outbox: createOutbox(SCHEMA), ...known };
  startWorkers(config, deps, nats, stack);
  const identity = { authUrl: config.AUTH_URL, issuer: config.AUTH_ISSUER };
  const verifier = stack.use(await startVerifier({ ...identity, nats, clock, log, metrics, signal }));
  const service = stack.use(
    await serveService({
      name: "user-quota",
      config,
      log,
      metrics,
      clock,
      services: [
        implement(UserQuotaService, userQuotaHandlers(deps)),
        databaseService({ pool, schema: "user_quota", log }),
      ],
      verifier,
      readiness: { database: () => requireSchema(pool, SCHEMA) },
    }),
  );
  const running = stack.move();
  return { addresses: service.addresses, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** What runs beside the calls. It hangs on the stack and not on the caller's signal, which comes before calls have ended. */
function startWorkers(config: UserQuotaConfig, deps: Deps, nats: Nats, stack: AsyncDisposableStack): void {
  const ended = new AbortController();
  const shared = { ...deps, schema: SCHEMA, nats, signal: ended.signal } as const;
  const loops = [
    startSweeper(deps, {
      intervalMs: config.RESERVATION_SWEEP_INTERVAL,
      retentionMs: config.RESERVATION_RETENTION,
      signal: ended.signal,
    }),
    startSampler(deps, {
      intervalMs: config.RECONCILE_INTERVAL,
      sampleSize: config.RECONCILE_SAMPLE_SIZE,
      signal: ended.signal,
    }),
  ];
  stack.defer(async () => {
    ended.abort();
    await Promise.all(loops);
  });
  stack.use(startMaintenance(shared));
  stack.use(startRelay({ ...shared, streams: ["QUOTAS"] }));
  const users = { stream: "USERS", durable: "user-quota-users" } as const;
  stack.use(startConsumer({ ...shared, ...users, apply: onUserChanged(deps) }));
  stack.use(startConsumer({ ...shared, ...CHUNKS, apply: onChunkFacts(deps) }));
}

function registryClient(config: UserQuotaConfig, clock: Clock) {
  const tokens = createServiceTokenSource({
    authUrl: config.AUTH_URL,
    clientId: config.SERVICE_CLIENT_ID,
    clientSecret: config.SERVICE_CLIENT_SECRET,
    clock,
  });
  return createServiceClient(ChunkService, {
    baseUrl: config.NODE_REGISTRY_URL,
    tokens,
    timeoutMs: REGISTRY_TIMEOUT_MS,
    idempotent: ["getUserUsage"],
  });
}
