import { randomBytes, randomInt } from "node:crypto";
import { transact } from "#platform/outbox/outbox.ts";
import { isDatabaseDown } from "#platform/postgres/errors.ts";
import { uuidv7 } from "#platform/time/uuid.ts";
import type { Pair } from "../chunks/replicas.store.ts";
import { type Challenge, leafToAsk, MAX_WHOLE_CHUNK_BYTES } from "./challenge.ts";
import { findStaleChallenges, insertChallenges, readOpenChallenges } from "./challenges.store.ts";
import { retryAsksForWhole } from "./consequence.ts";
import { assertReachable, type ClaimedReplica, claimDue, lookUpByIndex, reschedule } from "./due.store.ts";
import { bringBack } from "./overlong.store.ts";
import { type DueReplica, peekDue } from "./peek-due.store.ts";
import type { ProofDeps } from "./proof-deps.ts";
import type { Decision } from "./record-outcomes.worker.ts";
import { type Budget, createBudget, longestDelayMs } from "./schedule.ts";

export const TICK_MS = 250;
const NODES_PER_TICK = 500;
const NODES_PER_LOOK = 100;
const UNREAD_PER_TICK = 2_000;
const STALE_EVERY_TICKS = 20;
const STALE_PER_ROUND = 500;
const OVERDUE_PER_TICK = 5_000;
// A node without anything due is looked at again then at the latest: it may have been given something to prove soon.
const LOOK_AGAIN_MS = 60_000;
// A retry that has waited for longer, since its node was away, gets its turn like the rest.
const RETRIES_FIRST_MS = 3_600_000;

/**
 * Asks the nodes that beat at this process for proofs of what is due, within a budget per node and per second, and finds
 * what was missed. Any number of processes may run it. A process that dies leaves open challenges in the database, where
 * the next one that hears the node finds them; nothing else of a round needs to survive.
 */
export async function runScheduler(deps: ProofDeps, signal: AbortSignal): Promise<void> {
  const budget = createBudget(deps.clock, deps.config.PROOF_RATE);
  for (let ticks = 1; !signal.aborted; ticks += 1) {
    await deps.clock.sleep(TICK_MS, signal);
    if (signal.aborted) return;
    deps.reception.tick();
    try {
      await scheduleOnce(deps, budget, ticks % STALE_EVERY_TICKS === 0);
    } catch (error) {
      deps.reception.broken();
      deps.log.warn({ err: error }, "proofs cannot be scheduled, trying again");
    }
  }
}

export async function scheduleOnce(deps: ProofDeps, budget: Budget, looksForStale: boolean): Promise<void> {
  // With everything asked for there is nothing to query, and an outage would go unnoticed while windows run.
  if (deps.board.openCount() > 0) await assertReachable(deps.pool);
  await readUnread(deps);
  const overdue = deps.board.overdue().slice(0, OVERDUE_PER_TICK);
  await settleEach(
    deps,
    overdue.map((challenge) => ({ ...idsOf(challenge), verdict: { challenge, outcome: { kind: "timed_out" } } })),
  );
  if (looksForStale) {
    deps.board.forgetSilent(deps.leaseTtlMs);
    await withdrawStale(deps);
  }
  await askForDue(deps, budget);
}

/**
 * Nodes that are new at this process, or back, bring the challenges that another one, or an earlier life, left open, and
 * what was put off for too long.
 */
async function readUnread(deps: ProofDeps): Promise<void> {
  const unread = deps.board.unread(UNREAD_PER_TICK);
  if (unread.length === 0) return;
  deps.board.read(unread, await readOpenChallenges(deps.pool, unread));
  const now = deps.clock.now();
  const latest = now.add({ milliseconds: Math.round(longestDelayMs(deps.pace)) });
  await deps.pool.transaction(async (tx) => {
    await lookUpByIndex(tx);
    await bringBack(tx, unread, { now, latest, withinMs: deps.pace.intervalMs });
  });
}

async function withdrawStale(deps: ProofDeps): Promise<void> {
  const stale = await findStaleChallenges(deps.pool, STALE_PER_ROUND);
  await settleEach(
    deps,
    stale.map((challenge) => ({ ...idsOf(challenge), verdict: { challenge, outcome: { kind: "gone" } } })),
  );
}

/** Each as a caller of its own, which still share transactions: one that fails every time costs the others nothing. */
async function settleEach(deps: ProofDeps, decisions: readonly Decision[]): Promise<void> {
  const results = await Promise.allSettled(decisions.map((decision) => deps.settle([decision])));
  for (const [index, result] of results.entries()) {
    if (result.status === "fulfilled") continue;
    if (isDatabaseDown(result.reason)) throw result.reason;
    const { commandId } = decisions[index] ?? {};
    deps.log.error({ err: result.reason, commandId }, "a challenge cannot be settled, the others go on");
  }
}

function idsOf({ commandId, nodeRowId }: Challenge) {
  return { commandId, nodeRowId };
}

/** Some nodes after the other, until the second's budget is spent: with much due it does not reach far. */
async function askForDue(deps: ProofDeps, budget: Budget): Promise<void> {
  const chosen: DueReplica[] = [];
  const seen = new Set<bigint>();
  const nowMs = deps.clock.monotonicMs();
  for (let looked = 0; looked < NODES_PER_TICK && budget.has(); looked += NODES_PER_LOOK) {
    const isNext = (nodeRowId: bigint) => !seen.has(nodeRowId) && isAsked(deps, nodeRowId);
    const asked = deps.board.askable(NODES_PER_LOOK, isNext);
    const now = deps.clock.now();
    const byNode = await peekDue(
      deps.pool,
      asked.map(({ nodeRowId }) => nodeRowId),
      deps.config.PROOF_NODE_BUDGET,
      { now, struckAfter: now.subtract({ milliseconds: RETRIES_FIRST_MS + 2 * deps.pace.retryMs }) },
    );
    for (const { nodeRowId, room } of asked) {
      const replicas = byNode.get(nodeRowId) ?? [];
      const due = replicas.filter(({ dueInMs }) => dueInMs <= 0).slice(0, room);
      chosen.push(...due.slice(0, budget.take(due.length)));
      deps.board.lookAgain(nodeRowId, due.length > 0 ? nowMs : nowMs + untilNext(deps, replicas));
      seen.add(nodeRowId);
    }
    if (asked.length < NODES_PER_LOOK) break;
  }
  const made = await claim(deps, chosen);
  budget.giveBack(chosen.length - made.length);
  deps.board.add(made);
}

/** Nodes that serve what they hold; nobody is asked during maintenance. */
function isAsked(deps: ProofDeps, nodeRowId: bigint): boolean {
  const node = deps.view.nodeByRowId(nodeRowId);
  return node !== undefined && node.liveness === "online" && (node.state === "in_service" || node.state === "draining");
}

function untilNext(deps: ProofDeps, replicas: readonly DueReplica[]): number {
  const longestMs = Math.min(LOOK_AGAIN_MS, deps.pace.firstWithinMs);
  return Math.max(0, Math.min(longestMs, replicas[0]?.dueInMs ?? longestMs));
}

async function claim(deps: ProofDeps, pairs: readonly Pair[]): Promise<Challenge[]> {
  if (pairs.length === 0) return [];
  const now = deps.clock.now();
  return transact(deps, async (tx) => {
    const claimed = await claimDue(tx, pairs, now);
    const challenges = claimed.flatMap((replica) => challengeFor(deps, replica) ?? []);
    const isChallenged = new Set(challenges.map(({ nodeRowId, chunkHash }) => `${nodeRowId}/${chunkHash}`));
    // Not confirmed yet, or nothing that could be asked: looked at again later.
    const putOff = claimed.filter(({ nodeRowId, chunkHash }) => !isChallenged.has(`${nodeRowId}/${chunkHash}`));
    if (putOff.length > 0) await lookUpByIndex(tx);
    await reschedule(
      tx,
      putOff.map((replica) => ({ ...replica, dueInMs: deps.pace.firstWithinMs })),
      now,
    );
    return challenges.length === 0 ? [] : [...(await insertChallenges(tx, challenges, now))];
  });
}

function challengeFor(deps: ProofDeps, replica: ClaimedReplica): Challenge | undefined {
  const node = deps.view.nodeByRowId(replica.nodeRowId);
  if (!replica.isConfirmed || node === undefined) return undefined;
  const isRetry = replica.strike !== undefined;
  const asksForWhole = replica.strike !== undefined && retryAsksForWhole(replica.strike, replica.sizeBytes);
  const hasRoot = replica.proofRoot !== undefined && !asksForWhole;
  // A node must not be able to guess what it will be asked for.
  const leafIndex = leafToAsk({ sizeBytes: replica.sizeBytes, hasRoot }, () => randomInt(2 ** 32) / 2 ** 32);
  if (leafIndex === undefined && replica.sizeBytes > MAX_WHOLE_CHUNK_BYTES) return undefined;
  return {
    commandId: uuidv7(deps.clock),
    nodeId: node.nodeId,
    nodeRowId: replica.nodeRowId,
    chunkHash: replica.chunkHash,
    generation: replica.generation,
    sizeBytes: replica.sizeBytes,
    proofRoot: replica.proofRoot,
    leafIndex,
    nonce: randomBytes(32),
    isRetry,
  };
}
