import { startRevocationFeed } from "#platform/identity/revocation-feed.worker.ts";
import { createRevocations } from "#platform/identity/revocations.ts";
import { createTokenVerifier } from "#platform/identity/token-verifier.ts";
import type { RunningMain } from "#platform/lifecycle/run-main.ts";
import { serveService } from "#platform/lifecycle/serve-service.ts";
import { createLogger } from "#platform/log/logger.ts";
import { requireSchema } from "#platform/migrations/require-schema.ts";
import { connectNats } from "#platform/nats/connect.ts";
import { streamSettingsOf } from "#platform/nats/stream-settings.ts";
import { databaseService } from "#platform/ops/database-service.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { createOutbox } from "#platform/outbox/outbox.ts";
import { startRelay } from "#platform/outbox/relay.worker.ts";
import { startMaintenance } from "#platform/postgres/maintenance.worker.ts";
import { openServicePool } from "#platform/postgres/open-service-pool.ts";
import { type Clock, systemClock } from "#platform/time/clock.ts";
import type { AuthConfig } from "./config.ts";
import { createDeps } from "./create-deps.ts";
import { startHousekeeping } from "./housekeeping.worker.ts";
import { keepKeysRotating } from "./keys/key-rotation.worker.ts";
import { keySetAnswer } from "./keys/key-set.ts";
import { authServices } from "./rpc-services.ts";

/** Starts auth; disposing the answer is the whole clean stop. `signal` ends waiting during the start. */
export async function startAuth(
  config: AuthConfig,
  signal: AbortSignal,
  clock: Clock = systemClock,
): Promise<RunningMain> {
  const log = createLogger("auth", config.LOG_LEVEL);
  const metrics = createMetrics("auth", { withProcess: true });
  await using stack = new AsyncDisposableStack();
  const pool = await openServicePool(config, { schema: "auth", log, metrics, signal });
  stack.defer(() => pool.end());
  const nats = stack.use(
    await connectNats({
      url: config.NATS_URL.reveal(),
      name: "auth",
      streamSettings: streamSettingsOf(config),
      log,
      signal,
    }),
  );
  const outbox = createOutbox("auth");
  const revocations = createRevocations(clock);
  const deps = await createDeps(config, { pool, outbox, clock, log, metrics, revocations });
  // What outlives a start that fails, or runs until the stop, hangs on the stack and not on the caller's signal.
  const ended = new AbortController();
  stack.defer(() => ended.abort());
  const shared = { pool, schema: "auth", clock, log, metrics, signal: ended.signal } as const;
  stack.use(startMaintenance(shared));
  stack.use(startRelay({ ...shared, nats, streams: ["USERS"], outbox }));
  stack.use(await startRevocationFeed({ ...shared, nats, revocations }));
  stack.use(keepKeysRotating(deps, ended.signal));
  stack.use(startHousekeeping(deps, ended.signal));

  const verifier = createTokenVerifier({
    jwks: () => deps.keyring.published().map((key) => ({ ...key })),
    issuer: deps.issuer,
    clock,
    log,
    isRevoked: revocations.isRevoked,
  });
  const service = stack.use(
    await serveService({
      name: "auth",
      config,
      log,
      metrics,
      clock,
      services: [...authServices(deps), databaseService({ pool, schema: "auth", log })],
      verifier,
      readiness: { database: () => requireSchema(pool, "auth") },
      routes: [{ path: "/.well-known/jwks.json", answer: () => keySetAnswer(deps.keyring.published()) }],
    }),
  );
  const running = stack.move();
  return { addresses: service.addresses, [Symbol.asyncDispose]: () => running.disposeAsync() };
}
