import type { Outbox } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { lockChunks } from "../chunks/chunks.store.ts";
import { sortedHashes } from "../chunks/hashes.ts";
import { type Pair, readPairs } from "../chunks/replicas.store.ts";
import { pairKey } from "../chunks/report-outcomes.ts";
import type { NodeTable } from "../directory/node-table.ts";
import type { Challenge, Outcome } from "./challenge.ts";
import { takeChallenges } from "./challenges.store.ts";
import { type Consequence, consequenceOf } from "./consequence.ts";
import {
  clearStrikes,
  doubtRoots,
  findWitnessed,
  lookUpByIndex,
  markVerified,
  type Rescheduled,
  reschedule,
  saveStrikes,
} from "./due.store.ts";
import { recordFailures } from "./record-failures.worker.ts";
import { nextProofDelayMs, type ProofPace, retryDelayMs } from "./schedule.ts";
import { insertVerdicts, type OutcomeName, readVerdicts, type Verdict } from "./verdicts.store.ts";

export interface OutcomeDeps {
  readonly clock: Clock;
  readonly outbox: Outbox;
  readonly view: NodeTable;
  readonly pace: ProofPace;
  readonly random: () => number;
}

/** One challenge that has come to its end, or is asked about (without an outcome). */
export interface Decision {
  readonly commandId: string;
  readonly nodeRowId: bigint;
  /** Of the node's own challenge; gone: its replica does not count any more. Undefined asks for an earlier verdict. */
  readonly verdict:
    | { readonly challenge: Challenge; readonly outcome: Outcome | { readonly kind: "gone" } }
    | undefined;
}

/** The verdict that stands, or that there is no such challenge of this node. */
export type Settlement = OutcomeName | "unknown";

interface Ended {
  readonly challenge: Challenge;
  readonly outcome: Outcome;
  readonly isGone: boolean;
}

/**
 * Settles challenges for good, each once: whoever comes second, in this batch, later or in another process, gets the
 * first verdict. Replicas, strikes, losses, evidence and events are written in this transaction, so an end in the middle
 * of it leaves the challenges open, to be answered or missed again.
 */
export async function recordOutcomes(
  deps: OutcomeDeps,
  tx: Transaction,
  decisions: readonly Decision[],
): Promise<readonly Settlement[]> {
  const ended = new Map<string, Ended>();
  for (const { commandId, verdict } of decisions) {
    if (verdict === undefined || ended.has(commandId)) continue;
    const { challenge, outcome } = verdict;
    const isGone = outcome.kind === "gone";
    ended.set(commandId, { challenge, outcome: isGone ? { kind: "not_held" } : outcome, isGone });
  }
  if (ended.size > 0) await lookUpByIndex(tx);
  const taken = await takeChallenges(
    tx,
    [...ended.values()].map(({ challenge }) => challenge),
  );
  const open = [...ended.values()].filter(({ challenge }) => taken.has(challenge.commandId));
  const verdicts = open.length === 0 ? [] : await settle(deps, tx, open);
  await insertVerdicts(tx, verdicts, deps.clock.now());
  const earlier = new Set(decisions.map((decision) => decision.commandId).filter((commandId) => !taken.has(commandId)));
  const known = earlier.size === 0 ? [] : await readVerdicts(tx, [...earlier]);
  const byCommand = new Map([...verdicts, ...known].map((verdict) => [verdict.commandId, verdict]));
  return decisions.map(({ commandId, nodeRowId }): Settlement => {
    const verdict = byCommand.get(commandId);
    return verdict?.nodeRowId === nodeRowId ? verdict.outcome : "unknown";
  });
}

/** A miss of a replica that does not count any more is no miss: it is gone, perhaps by the node's own report. */
async function withGone(tx: Transaction, ended: readonly Ended[]): Promise<Ended[]> {
  const missed = ended.filter(({ outcome }) => outcome.kind !== "proved").map(({ challenge }) => challenge);
  if (missed.length === 0) return [...ended];
  const confirmed = (await readPairs(tx, missed)).filter(({ replica }) => replica?.state === "confirmed");
  const counting = new Set(confirmed.map(keyOf));
  return ended.map((one) =>
    one.outcome.kind === "proved" || counting.has(keyOf(one.challenge))
      ? one
      : { challenge: one.challenge, outcome: { kind: "not_held" }, isGone: true },
  );
}

/** Answers the verdicts; a challenge without one was withdrawn. */
async function settle(deps: OutcomeDeps, tx: Transaction, all: readonly Ended[]): Promise<Verdict[]> {
  const ended = await withGone(tx, all);
  const consequences = await consequencesOf(tx, ended);
  const of = (kind: Consequence["kind"]) => ended.filter((_, index) => consequences[index]?.kind === kind);
  const lost = ended.flatMap(({ challenge, isGone }, index) => {
    const consequence = consequences[index];
    return consequence?.kind === "lost" ? [{ challenge, isGone, failure: consequence.failure }] : [];
  });
  // In the order of everybody: chunks, then all replicas, then what losses change besides. A release waits for the holdings
  // of a node with replicas of it in its hands.
  const hashes = sortedHashes(lost.map(({ challenge }) => challenge.chunkHash));
  const locked = hashes.length === 0 ? [] : await lockChunks(tx, hashes);
  const verified = await verify(deps, tx, of("verified"));
  const again = await askAgain(deps, tx, of("ask_again"));
  const undecided = of("undecided");
  await reschedule(
    tx,
    undecided.map(({ challenge }) => regularly(deps, challenge)),
    deps.clock.now(),
  );
  const failures = await recordFailures(deps, tx, lost, locked);
  await clearStrikes(
    tx,
    [...of("verified"), ...of("lost"), ...undecided].map(({ challenge }) => challenge).filter(({ isRetry }) => isRetry),
  );
  return [
    ...failures.map(({ challenge, failure }) => toVerdict(challenge, failure)),
    ...[...verified, ...again, ...undecided].map(({ challenge, outcome }) => toVerdict(challenge, outcome.kind)),
  ];
}

async function consequencesOf(tx: Transaction, ended: readonly Ended[]): Promise<Consequence[]> {
  const doubtful = ended.filter(
    ({ challenge, outcome }) => outcome.kind === "invalid" && challenge.isRetry && challenge.leafIndex !== undefined,
  );
  const witnessed = new Set(
    (
      await findWitnessed(
        tx,
        doubtful.map(({ challenge }) => challenge),
      )
    ).map(keyOf),
  );
  return ended.map(({ challenge, outcome }) =>
    consequenceOf(outcome, {
      isRetry: challenge.isRetry,
      isWholeChunk: challenge.leafIndex === undefined,
      sizeBytes: challenge.sizeBytes,
      isRootWitnessed: witnessed.has(keyOf(challenge)),
    }),
  );
}

async function verify(deps: OutcomeDeps, tx: Transaction, ended: readonly Ended[]): Promise<Ended[]> {
  const now = deps.clock.now();
  const counting = new Set(
    (
      await markVerified(
        tx,
        ended.map(({ challenge }) => regularly(deps, challenge)),
        now,
      )
    ).map(keyOf),
  );
  // A whole chunk with a root is the retry of a leaf that led elsewhere: the chunk is right, so the root is false.
  const falseRoots = ended.filter(
    ({ challenge }) => challenge.leafIndex === undefined && challenge.proofRoot !== undefined,
  );
  await doubtRoots(
    tx,
    falseRoots.map(({ challenge }) => challenge),
    now,
  );
  return ended.filter(({ challenge }) => counting.has(keyOf(challenge)));
}

async function askAgain(deps: OutcomeDeps, tx: Transaction, ended: readonly Ended[]): Promise<Ended[]> {
  const now = deps.clock.now();
  const counting = new Set(
    (
      await reschedule(
        tx,
        ended.map(({ challenge }) => ({
          ...challenge,
          dueInMs: retryDelayMs(deps.pace, deps.random),
        })),
        now,
      )
    ).map(keyOf),
  );
  const struck = ended.filter(({ challenge }) => counting.has(keyOf(challenge)));
  await saveStrikes(
    tx,
    struck.map(({ challenge, outcome }) => ({
      ...challenge,
      failure: outcome.kind === "invalid" ? "invalid" : "timed_out",
    })),
    now,
  );
  return struck;
}

function regularly(deps: OutcomeDeps, challenge: Challenge): Rescheduled {
  const node = deps.view.nodeByRowId(challenge.nodeRowId);
  const subject = { reputationScore: node?.reputationScore ?? 1, isOnProbation: node?.isOnProbation ?? false };
  const { nodeRowId, chunkHash } = challenge;
  return { nodeRowId, chunkHash, dueInMs: nextProofDelayMs(deps.pace, subject, deps.random) };
}

function toVerdict(challenge: Challenge, outcome: OutcomeName): Verdict {
  return { commandId: challenge.commandId, nodeRowId: challenge.nodeRowId, outcome };
}

function keyOf(pair: Pair): string {
  return pairKey(pair.nodeRowId, pair.chunkHash);
}
