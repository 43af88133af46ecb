import type { Logger } from "#platform/log/logger.ts";
import { backgroundOf, type Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { ChangeRing } from "./change-ring.ts";
import { selectChangesAfter, selectDirectoryHead } from "./changes.store.ts";
import type { NodeTable } from "./node-table.ts";
import { selectFiguresAfter, selectNodeRecords, selectNodeRecordsAfter } from "./nodes.store.ts";

const POLL_MS = 250;
const PAGE = 1_000;
const LOAD_PAGE = 5_000;
const COMPARE_EVERY_MS = 5_000;

export interface FollowerDeps {
  readonly pool: Pool;
  readonly clock: Clock;
  readonly log: Logger;
  readonly view: NodeTable;
  readonly ring: ChangeRing;
  /** How often the figures of every node should be read anew; undefined while this process writes all of them itself. */
  figuresPeriodMs(): number | undefined;
  /** How often the head is compared with a log that has nothing new. */
  readonly compareEveryMs?: number;
}

export interface Follower extends AsyncDisposable {
  /** Resolves once the view has everything that was committed before this call, on whichever process; or at its end. */
  caughtUp(callEnded: AbortSignal): Promise<void>;
}

/**
 * Keeps the view and the ring of this process up to date with the directory's change log: one indexed query every 250 ms
 * whatever the number of watchers, and at once after a change of this process's own. Resolves once the view is complete. An outage of PostgreSQL only delays it.
 */
export async function startFollower(given: FollowerDeps, signal: AbortSignal): Promise<Follower> {
  // However many calls wait for a connection: they look into the view too.
  const deps = { ...given, pool: backgroundOf(given.pool) };
  await loadView(deps);
  const stop = new AbortController();
  const ending = AbortSignal.any([signal, stop.signal]);
  const wakes: Wakes = { up: new AbortController(), isFollowing: false };
  deps.view.onPut((record) => {
    if (!wakes.isFollowing && record.revision > deps.ring.head) wakes.up.abort();
  });
  // Once, and not a combined signal for each of the four polls a second.
  ending.addEventListener("abort", () => wakes.up.abort(), { once: true });
  const running = follow(deps, ending, wakes);
  return {
    caughtUp: async (callEnded) => {
      const { revision } = await selectDirectoryHead(given.pool);
      while (deps.ring.head < revision && !callEnded.aborted) {
        wakes.up.abort();
        await deps.ring.pushedAfter(deps.ring.head, callEnded);
      }
    },
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
}

async function loadView(deps: FollowerDeps): Promise<void> {
  // The head first: what changes while the nodes are read is read again from the log.
  const head = await selectDirectoryHead(deps.pool);
  // Those that left while this process was cut off are not among the nodes that are read.
  const unseen = new Set(deps.view.candidates().map((node) => node.rowId));
  for (let after = 0n; ; ) {
    const page = await selectNodeRecordsAfter(deps.pool, after, LOAD_PAGE);
    for (const record of page) {
      deps.view.put(record);
      unseen.delete(record.rowId);
    }
    const last = page.at(-1);
    if (last === undefined || page.length < LOAD_PAGE) break;
    after = last.rowId;
  }
  for (const record of await selectNodeRecords(deps.pool, [...unseen])) deps.view.put(record);
  deps.view.advance(head.revision);
  deps.ring.start(head.compacted_revision);
  // The ring also gets the changes before the head, so that watchers can resume across a restart of this process.
  while (deps.ring.head < head.revision) {
    const logged = await selectChangesAfter(deps.pool, deps.ring.head, LOAD_PAGE);
    // Those behind the head may have missed their nodes: they are left to be followed.
    const rows = logged.filter((row) => row.revision <= head.revision);
    // Compacted meanwhile: the ring begins behind the gap.
    const first = rows.at(0)?.revision ?? head.revision + 1n;
    if (first !== deps.ring.head + 1n) deps.ring.start(first - 1n);
    for (const row of rows) deps.ring.push({ revision: row.revision, nodeId: row.node_id, node: row.node });
  }
}

interface Wakes {
  up: AbortController;
  /** Whether what is put into the view comes from the log itself. */
  isFollowing: boolean;
}

async function follow(deps: FollowerDeps, signal: AbortSignal, wakes: Wakes): Promise<void> {
  const cursor: Cursor = { figuresAfter: 0n, comparedAtMs: deps.clock.monotonicMs() };
  while (!signal.aborted) {
    wakes.up = new AbortController();
    try {
      const isMore = await followOnce(deps, wakes, cursor);
      await refreshFigures(deps, cursor);
      if (isMore) continue;
    } catch (error) {
      deps.log.warn({ err: error }, "the directory's changes cannot be read, trying again");
    }
    await deps.clock.sleep(POLL_MS, wakes.up.signal);
  }
}

interface Cursor {
  figuresAfter: bigint;
  /** When the head was last compared with the log, which said that there was nothing new. */
  comparedAtMs: number;
}

/**
 * Whether there is nothing to read because what was missed has been compacted already: the network was quiet for an hour
 * after it changed. The head is asked every few seconds, and read before the log so that a change in between is no gap.
 */
async function isBehind(deps: FollowerDeps, cursor: Cursor): Promise<boolean> {
  const nowMs = deps.clock.monotonicMs();
  if (nowMs - cursor.comparedAtMs < (deps.compareEveryMs ?? COMPARE_EVERY_MS)) return false;
  cursor.comparedAtMs = nowMs;
  const { revision } = await selectDirectoryHead(deps.pool);
  if (revision <= deps.ring.head) return false;
  return (await selectChangesAfter(deps.pool, deps.ring.head, 1)).length === 0;
}

async function followOnce(deps: FollowerDeps, wakes: Wakes, cursor: Cursor): Promise<boolean> {
  const rows = await selectChangesAfter(deps.pool, deps.ring.head, PAGE);
  const [first, last] = [rows.at(0), rows.at(-1)];
  const isMissing = first === undefined ? await isBehind(deps, cursor) : first.revision !== deps.ring.head + 1n;
  if (isMissing) {
    // So long cut off that what was missed is not kept any more: everything is read anew.
    deps.log.warn({ revision: deps.ring.head, kept: first?.revision }, "changes of the directory were missed");
    await loadView(deps);
    deps.ring.notify();
    return true;
  }
  if (first === undefined || last === undefined) return false;
  const records = await selectNodeRecords(deps.pool, [...new Set(rows.map((row) => row.node_row_id))]);
  wakes.isFollowing = true;
  for (const record of records) deps.view.put(record);
  wakes.isFollowing = false;
  deps.view.advance(last.revision);
  for (const row of rows) deps.ring.push({ revision: row.revision, nodeId: row.node_id, node: row.node });
  deps.ring.notify();
  return rows.length === PAGE;
}

/** Goes round all leases once per period, a slice per poll. */
async function refreshFigures(deps: FollowerDeps, cursor: Cursor): Promise<void> {
  const periodMs = deps.figuresPeriodMs();
  if (periodMs === undefined) return;
  const slice = Math.max(100, Math.ceil((deps.view.candidates().length * POLL_MS) / periodMs));
  const rows = await selectFiguresAfter(deps.pool, cursor.figuresAfter, slice);
  for (const { rowId, ...figures } of rows) deps.view.putFigures(rowId, figures);
  cursor.figuresAfter = rows.length < slice ? 0n : (rows.at(-1)?.rowId ?? 0n);
}
