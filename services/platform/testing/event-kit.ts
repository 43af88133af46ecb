import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { ErrorCode, NatsError } from "nats";
import type { NatsServerSettings } from "../../dev/nats-server.ts";
import { connectNats, type Nats } from "../nats/connect.ts";
import { readStream, type StoredMessage } from "../nats/read-stream.ts";
import type { StreamName } from "../nats/streams.ts";
import { createMetrics } from "../ops/metrics.ts";
import { createOutbox, type Outbox, type OutboxEvent, transact } from "../outbox/outbox.ts";
import { type RelayOptions, startRelay } from "../outbox/relay.worker.ts";
import type { Pool } from "../postgres/pool.ts";
import { systemClock } from "../time/clock.ts";
import { uuidv7 } from "../time/uuid.ts";
import { createTestDatabase, createTestLogger, type TestDatabase } from "./test-database.ts";
import { startTestNats, type TestNats } from "./test-nats.ts";

/** PostgreSQL, NATS and the outbox of auth, whose stream is USERS. */
export interface EventKit extends AsyncDisposable {
  db: TestDatabase;
  broker: TestNats;
  pool: Pool;
  /** As the user auth. */
  nats: Nats;
  operator: Nats;
  outbox: Outbox;
  /** Appends events of these keys, in this order, each with the next version of its key, in one transaction. */
  append(keys: readonly string[]): Promise<OutboxEvent[]>;
  relay(options?: Partial<RelayOptions>): AsyncDisposable & { metric(name: string): Promise<number> };
  connect(user: string): Promise<Nats>;
  unpublished(): Promise<number>;
}

export async function createEventKit(settings: NatsServerSettings = {}): Promise<EventKit> {
  const stack = new AsyncDisposableStack();
  const db = stack.use(await createTestDatabase());
  const broker = stack.use(await startTestNats(settings));
  const log = createTestLogger();
  const connect = async (user: string) => stack.use(await connectNats({ url: broker.url(user), name: user, log }));
  const pool = await db.pool("auth");
  const nats = await connect("auth");
  const operator = await connect("operator");
  const outbox = createOutbox("auth");
  const versions = new Map<string, bigint>();
  return {
    ...{ db, broker, pool, nats, operator, outbox, connect },
    append: async (keys) => {
      const events = keys.map((key) => userEvent(key, nextVersion(versions, key)));
      await transact({ pool, outbox }, (tx) => outbox.append(tx, events));
      return events;
    },
    relay: (options = {}) => {
      const metrics = createMetrics("auth");
      const signal = new AbortController().signal;
      const base = { pool, schema: "auth", nats, outbox, clock: systemClock, log, metrics, signal };
      const relay = startRelay({ ...base, streams: ["USERS"], ...options });
      const metric = async (name: string) => {
        const found = await metrics.registry.getSingleMetric(`decentrastore_${name}`)?.get();
        return found?.values.reduce((sum, { value }) => sum + value, 0) ?? 0;
      };
      return { metric, [Symbol.asyncDispose]: () => relay[Symbol.asyncDispose]() };
    },
    unpublished: async () => Number(await countUnpublished(db)),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

export function userEvent(key: string, keyVersion: bigint): OutboxEvent {
  const payload = new TextEncoder().encode(`${key} ${keyVersion}`);
  const type = "decentrastore.events.v1.UserRegistered";
  const subject = `decentrastore.user.registered.${key}`;
  return { eventId: uuidv7(systemClock), subject, key, keyVersion, type, payload };
}

function nextVersion(versions: Map<string, bigint>, key: string): bigint {
  const version = (versions.get(key) ?? 0n) + 1n;
  versions.set(key, version);
  return version;
}

async function countUnpublished(db: TestDatabase): Promise<unknown> {
  const rows = await querySuperuser(db, "select count(*) from auth.outbox where published_at is null");
  return rows[0]?.count;
}

/** SQL that no service may run: locks, interference, looking at everything. */
export async function querySuperuser(db: TestDatabase, text: string): Promise<Record<string, unknown>[]> {
  const { default: pg } = await import("pg");
  const client = new pg.Client({ connectionString: db.url("superuser") });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

const READ_TRIES = 4;

/**
 * Everything a stream holds, oldest first. Each connection finds a server that was killed in its own time: a question
 * that got lost meanwhile is asked again.
 */
export async function streamContent(nats: Nats, stream: StreamName): Promise<StoredMessage[]> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await Array.fromAsync(readStream(nats, stream));
    } catch (error) {
      const isLost = error instanceof NatsError && error.code === ErrorCode.Timeout;
      if (!isLost || attempt === READ_TRIES) throw error;
    }
  }
}

/** Looks again every few milliseconds until it holds, and fails with its last value. */
export async function eventually(
  look: () => Promise<boolean> | boolean,
  what: string,
  withinMs = 60_000,
): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await look())) {
    if (performance.now() > deadline) throw new Error(`did not happen within ${withinMs} ms: ${what}`);
    await systemClock.sleep(10);
  }
}

const START_MS = 60_000;
const SAID_CHARACTERS = 4_000;

/** A relay or consumer in a process of its own, to be killed or stopped. */
export interface WorkerProcess extends AsyncDisposable {
  readonly process: ChildProcess;
  kill(signal: NodeJS.Signals): Promise<void>;
}

export async function startWorkerProcess(script: string, env: Record<string, string>): Promise<WorkerProcess> {
  const child = spawn(process.execPath, [script], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (piece: Buffer) => {
      said = (said + piece).slice(-SAID_CHARACTERS);
      if (process.env.TEST_LOG_LEVEL !== undefined) process.stderr.write(piece);
    });
  }
  const exited = once(child, "exit");
  const decided = new AbortController();
  const isReady = await Promise.race([
    once(child, "message").then(() => true),
    exited.then(() => false),
    systemClock.sleep(START_MS, decided.signal).then(() => false),
  ]);
  decided.abort();
  if (!isReady) {
    child.kill("SIGKILL");
    throw new Error(`${script} did not get ready within ${START_MS} ms, or ended:\n${said}`);
  }
  const kill = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    if (signal !== "SIGSTOP" && signal !== "SIGCONT") await exited;
  };
  return {
    process: child,
    kill,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await exited;
    },
  };
}
