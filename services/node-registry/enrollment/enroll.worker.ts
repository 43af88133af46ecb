import type { Outbox, OutboxEvent } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { nodeRegistered, stateChanged } from "../directory/node-events.event.ts";
import {
  type Enrollment,
  type EnrollmentStep,
  insertEnrollmentHistory,
  insertNodes,
  type KnownNode,
  lockKnownNodes,
  updateEnrolledNodes,
} from "./enrolled-nodes.store.ts";
import { lockJoinTokens, spendJoinTokens } from "./join-tokens.store.ts";
import { createTokenUses, type TokenProof, type TokenUses } from "./token-uses.ts";

export interface WantedEnrollment {
  readonly token: TokenProof;
  readonly enrollment: Enrollment;
}

/** One of the two. */
export interface Enrolled {
  readonly rowId?: bigint;
  readonly refusal?: "token" | "disqualified";
}

type EnrollDeps = { readonly outbox: Outbox; readonly clock: Clock };

/**
 * Nodes, events and uses of tokens in the caller's transaction, one result per enrollment in their order; a refusal has
 * written nothing. Call `recordNodeChanges` afterwards.
 *
 * Lock order: tokens by id, then leases, nodes and the directory's head as everywhere.
 */
export async function enrollTogether(
  deps: EnrollDeps,
  tx: Transaction,
  wanted: readonly WantedEnrollment[],
): Promise<readonly Enrolled[]> {
  const tokenIds = [...new Set(wanted.map((one) => one.token.joinTokenId))];
  const tokens = createTokenUses(await lockJoinTokens(tx, tokenIds, deps.clock.now()));
  const results = new Map<WantedEnrollment, Enrolled>();
  const written: Written = { events: [], steps: [] };
  for (let waiting = wanted; waiting.length > 0; ) {
    waiting = await enrollRound(deps, tx, waiting, { tokens, results, written });
  }
  await spendJoinTokens(tx, tokens.taken());
  await deps.outbox.append(tx, written.events);
  await insertEnrollmentHistory(tx, written.steps);
  return wanted.map((one) => results.get(one) ?? { refusal: "token" });
}

interface Written {
  readonly events: OutboxEvent[];
  readonly steps: EnrollmentStep[];
}

interface Round {
  readonly tokens: TokenUses;
  readonly results: Map<WantedEnrollment, Enrolled>;
  readonly written: Written;
}

/**
 * Each key once; answers what is left for the next round: repeats of a key, and keys that another process enrolled at the
 * same moment, which are known by then.
 */
async function enrollRound(
  deps: EnrollDeps,
  tx: Transaction,
  waiting: readonly WantedEnrollment[],
  round: Round,
): Promise<readonly WantedEnrollment[]> {
  const byKey = Map.groupBy(waiting, (one) => one.enrollment.nodeId);
  const left = [...byKey.values()].flatMap((repeats) => repeats.slice(1));
  const known = await lockKnownNodes(tx, [...byKey.keys()]);
  const admitted = [...byKey.values()].flatMap((repeats) =>
    repeats.slice(0, 1).filter((one) => isAdmitted(round, one, known.get(one.enrollment.nodeId))),
  );
  const inserted = await insertNodes(
    tx,
    admitted.flatMap(({ enrollment }) => (known.has(enrollment.nodeId) ? [] : [enrollment])),
  );
  const versions = await updateEnrolledNodes(
    tx,
    admitted.flatMap(({ enrollment }) => (known.has(enrollment.nodeId) ? [enrollment] : [])),
  );
  for (const one of admitted) {
    const { nodeId } = one.enrollment;
    const node = known.get(nodeId);
    const rowId = node?.rowId ?? inserted.get(nodeId);
    if (rowId === undefined) {
      round.tokens.giveBack(one.token);
      left.push(one);
      continue;
    }
    round.results.set(one, { rowId });
    if (node === undefined) noteNew(deps, round.written, one.enrollment, rowId);
    else noteAgain(deps, round.written, one.enrollment, node, versions.get(nodeId) ?? 0n);
  }
  return left;
}

function isAdmitted({ results, tokens }: Round, one: WantedEnrollment, known: KnownNode | undefined): boolean {
  const refusal = known?.state === "disqualified" ? "disqualified" : tokens.take(one.token) ? undefined : "token";
  if (refusal !== undefined) results.set(one, { refusal });
  return refusal === undefined;
}

function noteNew(deps: EnrollDeps, { events, steps }: Written, enrollment: Enrollment, rowId: bigint): void {
  events.push(nodeRegistered(enrollment, 1n, deps.clock));
  steps.push({ rowId, previous: undefined, state: "in_service", evidence: "enrolled" });
}

function noteAgain(
  deps: EnrollDeps,
  { events, steps }: Written,
  { nodeId }: Enrollment,
  known: KnownNode,
  eventVersion: bigint,
): void {
  const state = known.state === "deregistered" ? "in_service" : known.state;
  const evidence = "enrolled again with a join token";
  steps.push({ rowId: known.rowId, previous: known.state, state, evidence });
  if (state === known.state) return;
  const change = { nodeId, previous: known.state, state, reason: evidence, maintenanceUntil: null, reputationScore: 0 };
  events.push(...stateChanged(change, eventVersion, deps.clock));
}
