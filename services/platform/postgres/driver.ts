import pg from "pg";
import { createDriverFactory, type DriverFactory } from "slonik";
import { errorCodeOf, isDatabaseDown } from "./errors.ts";
import { toSlonikError } from "./slonik-errors.ts";

export interface DriverOptions {
  readonly config: pg.ClientConfig;
  /** A connection that was idle for longer is asked for a sign of life before a caller gets it. */
  readonly probeAfterMs: number;
  /** How long after the first failure callers wait for a server that restarts; afterwards they fail at once. */
  readonly patienceMs: number;
  readonly onReconnect?: () => void;
}

/** Shared by the connections of one pool: since when the server has been away. */
interface Outage {
  since: number | undefined;
}

/**
 * A slonik driver over `pg` that replaces stale connections before use.
 *
 * A connection whose server went away while it was idle (killed backend, restart, failover, a firewall that forgot it)
 * is replaced when the next statement comes, and that caller notices nothing. The same holds for a connection that dies
 * on `START TRANSACTION`. Any other statement that was already sent is never repeated: it may have taken effect.
 */
export function createDriver(options: DriverOptions): DriverFactory {
  const outage: Outage = { since: undefined };
  return createDriverFactory(async () => ({
    createPoolClient: async ({ clientEventEmitter }) => {
      const session = createSession(options, outage, (error) => clientEventEmitter.emit("error", error));
      return { connect: session.connect, end: session.end, query: session.query, stream };
    },
  }));
}

function stream(): never {
  throw new Error("streaming queries are not supported: page through the rows by key");
}

interface Session {
  client: pg.Client;
  isDead: boolean;
  lastUsedAt: number;
  running: number;
  conflicts: number;
}

function createSession({ config, ...options }: DriverOptions, outage: Outage, onLost: (error: Error) => void) {
  let session: Session | undefined;

  /** A connection that dies while a caller holds it in a transaction ends that transaction at once. */
  function watch(client: pg.Client): Session {
    const watched: Session = { client, isDead: false, lastUsedAt: performance.now(), running: 0, conflicts: 0 };
    client.on("error", (error) => {
      watched.isDead = true;
      if (inTransaction(watched) || watched.running > 0) onLost(toSlonikError(error));
    });
    client.on("end", () => {
      watched.isDead = true;
    });
    return watched;
  }

  async function connect(): Promise<void> {
    session = watch(await openClient(config, options.patienceMs, outage));
  }

  async function replaceIfStale(): Promise<void> {
    if (session === undefined || inTransaction(session)) return;
    if (!session.isDead && performance.now() - session.lastUsedAt > options.probeAfterMs) await probe(session);
    if (session.isDead) await replace();
  }

  async function replace(): Promise<void> {
    session?.client.end().catch(() => {});
    options.onReconnect?.();
    await connect();
  }

  async function query(text: string, values?: unknown[], queryOptions?: { readonly name?: string }) {
    await replaceIfStale();
    const isStart = text === "START TRANSACTION";
    if (isStart && session !== undefined && session.conflicts > 0) await pauseAfterConflict(session);
    try {
      return await run(session, text, values, queryOptions?.name);
    } catch (error) {
      if (!isStart || !isDatabaseDown(error)) throw error;
      await replace();
      return await run(session, text, values, undefined);
    }
  }

  return { connect, query, end: async () => void (await session?.client.end()) };
}

function inTransaction(session: Session): boolean {
  const status = session.client.getTransactionStatus();
  return status === "T" || status === "E";
}

async function probe(session: Session): Promise<void> {
  try {
    await session.client.query("");
    session.lastUsedAt = performance.now();
  } catch {
    session.isDead = true;
  }
}

/** Slonik repeats a transaction after a deadlock or serialization failure without a pause; two of them would meet again. */
async function pauseAfterConflict(session: Session): Promise<void> {
  const ms = Math.random() * Math.min(200, 5 * 2 ** session.conflicts);
  await new Promise((resolve) => setTimeout(resolve, ms));
}

const commands = ["COPY", "DELETE", "INSERT", "SELECT", "UPDATE"] as const;

async function run(session: Session | undefined, text: string, values?: unknown[], name?: string) {
  if (session === undefined) throw new Error("the connection is not open");
  session.running += 1;
  try {
    const result = await send(session.client, text, values, name);
    if (text === "COMMIT") session.conflicts = 0;
    return {
      command: commands.find((command) => command === result.command) ?? "SELECT",
      fields: result.fields.map((field) => ({ dataTypeId: field.dataTypeID, name: field.name })),
      rowCount: result.rowCount,
      rows: result.rows,
    };
  } catch (error) {
    if (errorCodeOf(error)?.startsWith("40")) session.conflicts += 1;
    throw toSlonikError(error, { sql: text, values: [] });
  } finally {
    session.running -= 1;
    session.lastUsedAt = performance.now();
  }
}

/**
 * Without values it is slonik's own START TRANSACTION, COMMIT or ROLLBACK: the simple protocol is one message. The
 * extended protocol makes the server refuse several statements in one text before it runs the first.
 */
function send(client: pg.Client, text: string, values?: unknown[], name?: string) {
  if (values === undefined) return client.query<Record<string, unknown>>(text);
  const config: pg.QueryConfig & { queryMode: "extended" } = { text, values, queryMode: "extended" };
  if (name !== undefined) config.name = name;
  return client.query<Record<string, unknown>>(config);
}

/** Opens a connection; a server that has only just gone away is given `patienceMs` to come back. */
async function openClient(config: pg.ClientConfig, patienceMs: number, outage: Outage): Promise<pg.Client> {
  while (true) {
    const client = new pg.Client(config);
    // Without a listener, an error between failing and being discarded would end the process.
    client.on("error", () => {});
    try {
      await client.connect();
      outage.since = undefined;
      return client;
    } catch (error) {
      client.end().catch(() => {});
      if (!isDatabaseDown(error)) throw error;
      outage.since ??= performance.now();
      if (performance.now() - outage.since >= patienceMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50 + Math.random() * 100));
    }
  }
}
