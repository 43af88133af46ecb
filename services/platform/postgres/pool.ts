import type pg from "pg";
import { type CommonQueryMethods, createPool, type DatabasePool, type DatabaseTransactionConnection } from "slonik";
import { DatabaseUrl, type Secret } from "#platform/config/secret.ts";
import type { Schema } from "#platform/config/service-config.ts";
import type { Logger } from "#platform/log/logger.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import { systemClock } from "#platform/time/clock.ts";
import { checkCapacity } from "./capacity.ts";
import { createDriver } from "./driver.ts";
import { errorCodeOf, isDatabaseDown } from "./errors.ts";
import { createGate, type Gate } from "./gate.ts";
import { type QueryLogging, queryLogger, rowParser } from "./interceptors.ts";
import { createPoolMetrics, type PoolMetrics } from "./pool-metrics.ts";
import { checkRole, roleOption } from "./roles.ts";
import { setupErrorOf } from "./setup-errors.ts";
import { typeParsers } from "./type-parsers.ts";
import { type ConnectionTarget, parseDatabaseUrl } from "./url.ts";

const NEVER_REACHED = "the database could not be reached in the time of a start: check the host and port of its URL";

export type Pool = DatabasePool & { readonly background?: DatabasePool };
export type Transaction = DatabaseTransactionConnection;
/** What a store function takes first: a pool or a transaction. */
export type Connection = CommonQueryMethods;

export interface PoolOptions {
  /** A `DatabaseUrl` that is shared makes the pool take the role `<schema>_app` on each connection. */
  readonly url: string | Secret | DatabaseUrl;
  readonly schema: Schema;
  readonly log: Logger;
  readonly poolSize?: number;
  readonly maxOverflow?: number;
  readonly logQueries?: QueryLogging;
  readonly slowQueryMs?: number;
  readonly metrics?: Metrics;
  /** Take the role `<schema>_app`; by default only where the URL is the shared one. */
  readonly assumeRole?: boolean;
  readonly statementTimeoutMs?: number;
  /** A connection that was idle for longer is asked for a sign of life before use. */
  readonly probeAfterMs?: number;
  /** How long a caller waits for a free connection before PoolExhaustedError. */
  readonly waitMs?: number;
  /** How long to try while the database is away at the start. */
  readonly startTimeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * Opens a service's pool: `poolSize` connections kept, `maxOverflow` more under load, rows parsed by the schema of
 * their query, dead connections replaced before use, waiting bounded.
 *
 * Release resets nothing (DISCARD ALL halves the throughput), so session state is forbidden: only `set local`.
 * While the database is away at the start it is tried again until `startTimeoutMs`.
 *
 * @throws DatabaseUrlError, DatabaseSetupError with cause and cure when trying again would not help.
 */
export async function openPool(options: PoolOptions): Promise<Pool> {
  const url = typeof options.url === "string" ? options.url : options.url.reveal();
  const assumeRole = options.assumeRole ?? (options.url instanceof DatabaseUrl && options.url.isShared);
  const target = parseDatabaseUrl(url);
  if (target.ignored.length > 0) {
    options.log.warn({ parameters: target.ignored }, "unknown parameters of the database URL are ignored");
  }
  const { poolSize = 10, maxOverflow = 20 } = options;
  const counters: { metrics?: PoolMetrics } = {};
  const pool = await retryWhileAway(options, () => createSlonikPool(options, target, assumeRole, counters));
  const gateOf = (size: number) =>
    createGate({
      size,
      maxWaiting: 20 * size,
      // Longer than the patience with a server that restarts, so that those who wait hear what is the matter.
      waitMs: options.waitMs ?? 5_000,
      onWaited: (seconds) => counters.metrics?.waited(seconds),
      onHeld: (seconds) => counters.metrics?.held(seconds),
      onRefused: () => counters.metrics?.refused(),
    });
  const share = backgroundShare(poolSize + maxOverflow);
  const gates = [gateOf(poolSize + maxOverflow - share), ...(share > 0 ? [gateOf(share)] : [])] as const;
  if (options.metrics !== undefined) {
    counters.metrics = createPoolMetrics(options.metrics, {
      size: () => openConnections(pool),
      inUse: () => gates.reduce((sum, gate) => sum + gate.inUse(), 0),
      waiting: () => gates.reduce((sum, gate) => sum + gate.waiting(), 0),
    });
  }
  // Slonik repeats here what the failing call throws; without a listener it would end the process.
  pool.on("error", () => {});
  const [calls, background] = gates;
  return Object.assign(bound(pool, calls), background === undefined ? {} : { background: bound(pool, background) });
}

/** Connections that calls leave to background work: a fifth, six at most, and none of a pool too small to divide. */
function backgroundShare(size: number): number {
  return size < 10 ? 0 : Math.min(6, Math.floor(size / 5));
}

/**
 * The same pool through the share that calls cannot take: for leases, the relay and consumers, which must go on however
 * many calls wait for a connection. It is part of the pool's size, so the server needs no more connections for it.
 */
export function backgroundOf(pool: Pool): Pool {
  return pool.background ?? pool;
}

function openConnections(pool: DatabasePool): number {
  const { acquiredConnections, idleConnections, pendingReleaseConnections } = pool.state();
  return acquiredConnections + idleConnections + pendingReleaseConnections;
}

async function createSlonikPool(
  options: PoolOptions,
  target: ConnectionTarget,
  assumeRole: boolean,
  counters: { readonly metrics?: PoolMetrics },
): Promise<DatabasePool> {
  const { poolSize = 10, maxOverflow = 20, schema, log, logQueries = "slow", slowQueryMs = 500 } = options;
  // Slonik reads nothing from this URL: the driver below has the real target, so that no password gets into its errors.
  const pool = await createPool("postgres://configured.in.driver/", {
    driverFactory: createDriver({
      config: clientConfig(options, target, assumeRole),
      probeAfterMs: options.probeAfterMs ?? 500,
      answerTimeoutMs: (options.statementTimeoutMs ?? 10_000) + 5_000,
      patienceMs: 4_000,
      onReconnect: () => counters.metrics?.reconnected(),
      onConflict: (code) => counters.metrics?.conflicted(code),
    }),
    minPoolSize: poolSize,
    maxPoolSize: poolSize + maxOverflow,
    idleTimeout: 60_000,
    connectionRetryLimit: 0,
    resetConnection: async () => {},
    interceptors: logQueries === "off" ? [rowParser] : [rowParser, queryLogger(logQueries, slowQueryMs, log)],
    typeParsers: [],
  });
  try {
    await checkRole(pool, schema, assumeRole, log);
    await checkCapacity(pool, poolSize, maxOverflow, log);
    return pool;
  } catch (error) {
    await pool.end();
    throw error;
  }
}

function clientConfig(options: PoolOptions, target: ConnectionTarget, assumeRole: boolean): pg.ClientConfig {
  const config: pg.ClientConfig = {
    database: target.database,
    ssl: target.ssl,
    application_name: target.applicationName ?? `decentrastore ${options.schema}`,
    statement_timeout: options.statementTimeoutMs ?? 10_000,
    idle_in_transaction_session_timeout: 15_000,
    connectionTimeoutMillis: target.connectTimeoutMs ?? 5_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    types: typeParsers,
  };
  if (target.host !== undefined) config.host = target.host;
  if (target.port !== undefined) config.port = target.port;
  if (target.user !== undefined) config.user = target.user;
  if (target.password !== undefined) config.password = target.password;
  const settings = [target.options, assumeRole ? roleOption(options.schema) : undefined];
  const startupOptions = settings.filter((value) => value !== undefined).join(" ");
  if (startupOptions !== "") config.options = startupOptions;
  return config;
}

async function retryWhileAway(options: PoolOptions, open: () => Promise<DatabasePool>): Promise<DatabasePool> {
  const { startTimeoutMs = 60_000, signal, log } = options;
  const startedAt = systemClock.monotonicMs();
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await open();
    } catch (error) {
      const isTooLate = systemClock.monotonicMs() - startedAt >= startTimeoutMs;
      const isDown = isDatabaseDown(error);
      if (!isDown || isTooLate || signal?.aborted === true) {
        throw setupErrorOf(error, `${options.schema}_app`, isDown && isTooLate ? NEVER_REACHED : undefined);
      }
      log.warn({ attempt, code: errorCodeOf(error) }, "the database cannot be reached yet, trying again");
      await systemClock.sleep(Math.min(5_000, 100 * 2 ** attempt) * (0.5 + Math.random() / 2), signal);
    }
  }
}

/** Every way to a connection goes through the gate. */
function bound(pool: DatabasePool, gate: Gate): Pool {
  const gated: Partial<DatabasePool> = {
    any: (query, values) => gate.run(() => pool.any(query, values)),
    anyFirst: (query, values) => gate.run(() => pool.anyFirst(query, values)),
    exists: (query, values) => gate.run(() => pool.exists(query, values)),
    many: (query, values) => gate.run(() => pool.many(query, values)),
    manyFirst: (query, values) => gate.run(() => pool.manyFirst(query, values)),
    maybeOne: (query, values) => gate.run(() => pool.maybeOne(query, values)),
    maybeOneFirst: (query, values) => gate.run(() => pool.maybeOneFirst(query, values)),
    one: (query, values) => gate.run(() => pool.one(query, values)),
    oneFirst: (query, values) => gate.run(() => pool.oneFirst(query, values)),
    query: (query, values) => gate.run(() => pool.query(query, values)),
    record: (query, values) => gate.run(() => pool.record(query, values)),
    connect: (routine) => gate.run(() => pool.connect(routine)),
    transaction: (handler, retryLimit) => gate.run(() => pool.transaction(handler, retryLimit)),
  };
  const base: DatabasePool = Object.create(pool);
  return Object.assign(base, gated);
}
