import { oneByOne, togetherOrOneByOne } from "../chunks/one-by-one.worker.ts";
import { moveOff } from "./move-off.worker.ts";
import { findPaused } from "./pauses.worker.ts";
import type { RepairDeps } from "./repair-deps.ts";
import { readConfirmedOfNode } from "./repairs.store.ts";
import { startRepairs } from "./start-repairs.worker.ts";

const PAGE = 100;
const PAGES_PER_ROUND = 10;
// After a pass over a node's chunks in which nothing could be done.
const REST_MS = 10_000;

interface Pass {
  /** The last chunk that was looked at, in hex; empty at the beginning. */
  after: string;
  hasMoved: boolean;
  restUntilMs: number;
  visitedAtMs: number;
}

/** How far the passes over the chunks of draining nodes are, by storage_nodes.id. A successor begins anew. */
export type DrainWalk = Map<bigint, Pass>;

export interface DrainBudget {
  /** Fetches that may be started in all. */
  room: number;
  /** Fetches that each node has under way. */
  readonly perNode: Map<bigint, number>;
}

/**
 * Empties draining nodes, a portion of their chunks a round: copies what nodes that stay have too few of, from any node
 * that has it, and takes from the draining node what they have enough of. Repair of what is missing goes first: drains get
 * half of each budget, and what finds no node is left to the next pass and not paused, which would hold up its repair.
 */
export async function emptyDraining(deps: RepairDeps, walk: DrainWalk, budget: DrainBudget): Promise<void> {
  const nowMs = deps.clock.monotonicMs();
  const draining = deps.view.candidates().filter(({ state }) => state === "draining");
  const isDraining = new Set(draining.map(({ rowId }) => rowId));
  for (const rowId of walk.keys()) if (!isDraining.has(rowId)) walk.delete(rowId);
  for (const rowId of isDraining) {
    if (!walk.has(rowId)) walk.set(rowId, { after: "", hasMoved: false, restUntilMs: 0, visitedAtMs: nowMs });
  }
  const due = [...walk].filter(([, pass]) => pass.restUntilMs <= nowMs);
  const longestWaiting = due.sort(([, a], [, b]) => a.visitedAtMs - b.visitedAtMs).slice(0, PAGES_PER_ROUND);
  const visit = async ([rowId, pass]: [bigint, Pass]) => {
    pass.visitedAtMs = nowMs;
    const hashes = await readConfirmedOfNode(deps.pool, rowId, PAGE, pass.after);
    pass.after = hashes.at(-1) ?? "";
    let moved = 0;
    const takeOff = async (some: readonly string[]) => {
      moved += await moveOff(deps, some);
    };
    await togetherOrOneByOne(deps, hashes, takeOff, (chunkHash) => chunkHash);
    const copied = await copyFrom(deps, hashes, budget);
    pass.hasMoved ||= moved + copied > 0;
    if (hashes.length === PAGE) return;
    const restMs = pass.hasMoved ? 0 : REST_MS;
    walk.set(rowId, { after: "", hasMoved: false, restUntilMs: nowMs + restMs, visitedAtMs: nowMs });
  };
  await oneByOne(deps, longestWaiting, visit, { nameOf: ([rowId]) => String(rowId) });
}

async function copyFrom(deps: RepairDeps, hashes: readonly string[], budget: DrainBudget): Promise<number> {
  const paused = await findPaused(deps, budget.room <= 0 ? [] : hashes);
  const some = hashes.filter((chunkHash) => !paused.has(chunkHash)).slice(0, Math.max(0, budget.room));
  const perNode = Math.ceil(deps.config.REPAIR_NODE_BUDGET / 2);
  const { started } = await startRepairs(deps, some, budget.perNode, perNode);
  budget.room -= started.length;
  return started.length;
}
