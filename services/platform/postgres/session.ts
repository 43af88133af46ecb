import type pg from "pg";
import { errorCodeOf, isConnectionLoss, TransactionLostError } from "./errors.ts";
import { type IdleLinks, inTransaction, type Link, watchLink } from "./links.ts";
import { toSlonikError } from "./slonik-errors.ts";

export interface SessionOptions {
  readonly open: () => Promise<pg.Client>;
  /** Shared by the sessions of a pool. */
  readonly idle: IdleLinks;
  readonly probeAfterMs: number;
  readonly answerTimeoutMs: number;
  readonly onReconnect: () => void;
  readonly onConflict: (code: string) => void;
  readonly onError: (error: Error) => void;
}

/** More losses in a row than a restart of the server causes. */
const maxTries = 5;

/**
 * One place in the pool. It holds a connection during a statement, or from the start of a transaction to its end, and puts
 * it back among the idle ones; the server may take it away and another one come in its place. Nothing of a session
 * outlives that: no session settings, no session locks.
 */
export function createSession(options: SessionOptions) {
  let link: Link | undefined;
  let running = 0;
  let isEnded = false;
  /** The transaction went away with its connection; nothing runs until its owner has rolled it back. */
  let isTransactionLost = false;
  let conflicts = 0;

  async function connect(): Promise<void> {
    options.idle.put(watchLink(await options.open()));
  }

  async function end(): Promise<void> {
    isEnded = true;
    const ended = link ?? options.idle.takeOldest();
    link = undefined;
    await ended?.client.end();
  }

  function letGo(): void {
    running -= 1;
    if (link === undefined || running > 0) return;
    // Ended while its connection was being replaced.
    if (isEnded) link.client.connection.stream.destroy();
    else if (inTransaction(link)) return;
    else options.idle.put(link);
    link = undefined;
  }

  async function replace(): Promise<Link> {
    // Not `end`, which waits for an answer that a lost network never brings.
    link?.client.connection.stream.destroy();
    options.onReconnect();
    const fresh = watchLink(await options.open());
    fresh.onError = options.onError;
    link = fresh;
    return fresh;
  }

  async function usableLink(): Promise<Link> {
    link ??= options.idle.takeLatest();
    if (link === undefined) throw new Error("the connection is not open");
    link.onError = options.onError;
    if (inTransaction(link)) return link;
    if (!link.isDead && performance.now() - link.lastUsedAt > options.probeAfterMs) await probe(link);
    return link.isDead ? replace() : link;
  }

  /** One try; "again" when the connection was lost and the statement certainly took no effect. */
  async function attempt(text: string, values: unknown[] | undefined, name: string | undefined) {
    const used = await usableLink();
    const wasInTransaction = inTransaction(used);
    const completionsBefore = used.completions;
    try {
      if (/\bstatement_timeout\b/.test(text)) used.isUnbounded = true;
      return await run(used, text, values, name, used.isUnbounded ? undefined : options.answerTimeoutMs);
    } catch (error) {
      if (!isConnectionLoss(error)) throw error;
      used.isDead = true;
      if (wasInTransaction) {
        used.isGivenUp = true;
        if (text === "ROLLBACK") return emptyResult;
        // A COMMIT that was sent may have been the last thing the server did.
        if (text === "COMMIT" && !wasNeverSent(error)) throw error;
        isTransactionLost = true;
        throw new TransactionLostError(error);
      }
      const isStart = text === "START TRANSACTION";
      if (isStart || hasNotRun(error, used.completions - completionsBefore, values)) return "again" as const;
      throw error;
    } finally {
      if (text === "COMMIT" || text === "ROLLBACK") used.isUnbounded = false;
    }
  }

  async function query(text: string, values?: unknown[], queryOptions?: { readonly name?: string }) {
    if (isTransactionLost) {
      if (text !== "ROLLBACK") throw new TransactionLostError();
      isTransactionLost = false;
      return emptyResult;
    }
    if (text === "START TRANSACTION" && conflicts > 0) await pause(conflicts);
    running += 1;
    try {
      for (let tries = 1; ; tries += 1) {
        const result = await attempt(text, values, queryOptions?.name);
        if (result === "again" && tries < maxTries) continue;
        if (result === "again")
          throw new Error(`the connection was lost ${tries} times in a row: Connection terminated`);
        if (text === "COMMIT") conflicts = 0;
        return result;
      }
    } catch (error) {
      const code = errorCodeOf(error) ?? "";
      if (code.startsWith("40")) {
        conflicts += 1;
        options.onConflict(code);
      }
      throw toSlonikError(error, { sql: text, values: [] });
    } finally {
      letGo();
    }
  }

  return { connect, query, end };
}

/** An empty statement; a connection that does not answer it within a second is given up. */
async function probe(link: Link): Promise<void> {
  try {
    await run(link, "", undefined, undefined, 1_000);
  } catch {
    link.isDead = true;
  }
}

/**
 * Whether a statement outside a transaction certainly took no effect. Told to end (57P01), the server finishes no
 * statement, and with the extended protocol it reports a statement complete before it commits it: without that report
 * there was no commit.
 */
function hasNotRun(error: unknown, completions: number, values: unknown[] | undefined): boolean {
  return wasNeverSent(error) || (values !== undefined && completions === 0 && errorCodeOf(error) === "57P01");
}

function wasNeverSent(error: unknown): boolean {
  return error instanceof Error && /not queryable/.test(error.message);
}

/** Slonik repeats a transaction after a deadlock without a pause; its two sides would meet again. */
async function pause(conflicts: number): Promise<void> {
  const ms = Math.random() * Math.min(200, 5 * 2 ** conflicts);
  await new Promise((resolve) => setTimeout(resolve, ms));
}

const commands = ["COPY", "DELETE", "INSERT", "SELECT", "UPDATE"] as const;

/** What a ROLLBACK gives; slonik knows no name for it. */
const emptyResult = { command: "SELECT" as const, fields: [], rowCount: 0, rows: [] };

async function run(
  link: Link,
  text: string,
  values: unknown[] | undefined,
  name: string | undefined,
  timeoutMs: number | undefined,
) {
  // Cutting the connection makes `pg` fail the statement as for any other lost connection.
  const timer =
    timeoutMs === undefined ? undefined : setTimeout(() => link.client.connection.stream.destroy(), timeoutMs);
  try {
    const result = await send(link.client, text, values, name);
    // The server takes a COMMIT after a failed statement for a ROLLBACK, and says so in no other way.
    if (text === "COMMIT" && result.command === "ROLLBACK") {
      throw new Error("the transaction was rolled back: a statement in it had failed");
    }
    return {
      command: commands.find((command) => command === result.command) ?? "SELECT",
      fields: result.fields.map((field) => ({ dataTypeId: field.dataTypeID, name: field.name })),
      rowCount: result.rowCount,
      rows: result.rows,
    };
  } finally {
    clearTimeout(timer);
    link.lastUsedAt = performance.now();
  }
}

/**
 * Without values it is slonik's own START TRANSACTION, COMMIT or ROLLBACK: the simple protocol is one message. The
 * extended protocol makes the server refuse several statements in one text before it runs the first.
 */
function send(client: pg.Client, text: string, values: unknown[] | undefined, name: string | undefined) {
  if (values === undefined) return client.query<Record<string, unknown>>(text);
  const config: pg.QueryConfig & { queryMode: "extended" } = { text, values, queryMode: "extended" };
  if (name !== undefined) config.name = name;
  return client.query<Record<string, unknown>>(config);
}
