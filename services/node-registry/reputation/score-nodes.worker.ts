import type { Outbox, OutboxEvent } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { recordNodeChanges } from "../directory/changes.store.ts";
import { reputationChanged, stateChanged, stateEventCount } from "../directory/node-events.event.ts";
import type { NodeRecord } from "../directory/node-record.ts";
import { type Assessment, addToTally, assess, newTally } from "./assess.ts";
import { type Failing, isMassFailure, TOGETHER_MS, withheldBecause } from "./brake.ts";
import { evidenceAfter, type LoggedEvidence } from "./evidence.store.ts";
import { countFailing } from "./failing.store.ts";
import type { ReputationRules } from "./reputation-config.ts";
import {
  lockScoredNodes,
  type NodeScore,
  type ScoredNode,
  type StoredStanding,
  saveStandings,
  writeScores,
} from "./standings.store.ts";

export interface ScoringDeps {
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly rules: ReputationRules;
}

interface Scored {
  readonly node: ScoredNode;
  readonly assessment: Assessment;
  /** The last reset among the new entries. */
  readonly reset: LoggedEvidence | undefined;
  readonly withheld: string | undefined;
}

export interface ScoringResult {
  /** The nodes that changed, for the view after the commit. */
  readonly records: readonly NodeRecord[];
  /** Nodes that the brake has kept from being shut out, and what it went by. */
  readonly withheld: (Failing & { readonly nodeIds: readonly string[] }) | undefined;
}

/**
 * Brings nodes whose standings are locked up to the end of their logs: scores, probation, disqualification, history,
 * events and the directory's revision, all in this transaction. Where a large part of the nodes fails together nobody is
 * shut out, since the fault may be ours: they stay on probation until an admin decides, or until their next failure finds
 * fewer companions.
 */
export async function scoreNodes(
  deps: ScoringDeps,
  tx: Transaction,
  stored: readonly StoredStanding[],
): Promise<ScoringResult> {
  if (stored.length === 0) return { records: [], withheld: undefined };
  const { rules } = deps;
  const now = deps.clock.now();
  const assessed = await assessEach(tx, stored, rules, now);
  await saveStandings(
    tx,
    assessed.map(({ row, appliedEvidenceId, assessment }) => ({
      ...row,
      standing: assessment.standing,
      belowSince: assessment.belowSince,
      appliedEvidenceId,
    })),
  );
  const nodes = await lockScoredNodes(
    tx,
    assessed.map(({ row }) => row.nodeRowId),
  );
  const scored = assessed.flatMap(({ row, reset, assessment }): Scored[] => {
    const node = nodes.get(row.nodeRowId);
    return node === undefined ? [] : [{ node, reset, assessment, withheld: undefined }];
  });
  const { braked, withheld } = await brake(deps, tx, scored);
  return { records: await writeChanges(deps, tx, braked.filter(isChange)), withheld };
}

/** Up to the end of each log, of which only a page is in memory: after a change of the formula it is the whole log. */
async function assessEach(
  tx: Transaction,
  stored: readonly StoredStanding[],
  rules: ReputationRules,
  now: Temporal.Instant,
) {
  const { formula, thresholds } = rules;
  const rows = stored.map((row) => (row.formula === formula.name ? row : beginning(row, rules)));
  const tallies = new Map(rows.map((row) => [row.nodeRowId, newTally(row.standing)]));
  const positions = new Map(rows.map((row) => [row.nodeRowId, row.appliedEvidenceId]));
  const seen = new Map(stored.map((row) => [row.nodeRowId, row.appliedEvidenceId]));
  const resets = new Map<bigint, LoggedEvidence>();
  for await (const page of evidenceAfter(tx, new Map(positions))) {
    for (const entry of page) {
      const tally = tallies.get(entry.nodeRowId);
      const isNew = entry.id > (seen.get(entry.nodeRowId) ?? 0n);
      if (tally !== undefined) addToTally(tally, entry, formula, isNew);
      positions.set(entry.nodeRowId, entry.id);
      if (isNew && entry.kind === "reset") resets.set(entry.nodeRowId, entry);
    }
  }
  return rows.map((row) => ({
    row,
    reset: resets.get(row.nodeRowId),
    appliedEvidenceId: positions.get(row.nodeRowId) ?? row.appliedEvidenceId,
    assessment: assess(row, tallies.get(row.nodeRowId) ?? newTally(row.standing), thresholds, now),
  }));
}

async function brake(
  { clock, rules }: ScoringDeps,
  tx: Transaction,
  scored: readonly Scored[],
): Promise<{ braked: readonly Scored[]; withheld: ScoringResult["withheld"] }> {
  const isToGo = ({ node, assessment }: Scored) => assessment.disqualification !== undefined && isPresent(node);
  const nodeIds = scored.filter(isToGo).map(({ node }) => node.node_hash);
  if (nodeIds.length === 0) return { braked: scored, withheld: undefined };
  const since = clock.now().subtract({ milliseconds: TOGETHER_MS });
  const found = await countFailing(tx, rules.thresholds.probationBelow, since);
  if (!isMassFailure(found)) return { braked: scored, withheld: undefined };
  const braked = scored.map((one) => {
    const reason = isToGo(one) ? one.assessment.disqualification : undefined;
    if (reason === undefined) return one;
    const assessment = { ...one.assessment, disqualification: undefined };
    return { ...one, assessment, withheld: withheldBecause(reason, found) };
  });
  return { braked, withheld: { ...found, nodeIds } };
}

/** Another formula scored it last: the whole log counts anew. */
function beginning(row: StoredStanding, { formula }: ReputationRules): StoredStanding {
  return { ...row, formula: formula.name, standing: formula.start, belowSince: undefined, appliedEvidenceId: 0n };
}

/** A reset is told even where the score was full already. */
function isChange({ node, assessment, reset }: Scored): boolean {
  return (
    node.reputation_score !== assessment.standing.score ||
    node.is_on_probation !== (assessment.isOnProbation || node.is_young) ||
    (assessment.disqualification !== undefined && isPresent(node)) ||
    reset !== undefined
  );
}

function isPresent(node: ScoredNode): boolean {
  return node.state !== "disqualified" && node.state !== "deregistered";
}

async function writeChanges(deps: ScoringDeps, tx: Transaction, changed: readonly Scored[]): Promise<NodeRecord[]> {
  if (changed.length === 0) return [];
  const scores = changed.map(toNodeScore);
  await writeScores(tx, scores);
  await deps.outbox.append(
    tx,
    changed.flatMap(({ node }, index) => eventsOf(deps, node, scores[index])),
  );
  return recordNodeChanges(
    tx,
    changed.map(({ node }) => node.id),
  );
}

function toNodeScore({ node, assessment, reset, withheld }: Scored): NodeScore {
  const disqualification = isPresent(node) ? assessment.disqualification : undefined;
  const events = 1 + (disqualification === undefined ? 0 : stateEventCount("disqualified"));
  return {
    nodeRowId: node.id,
    previousScore: node.reputation_score,
    score: assessment.standing.score,
    isOnProbation: assessment.isOnProbation || node.is_young,
    disqualification,
    withheld,
    eventVersion: node.event_version + BigInt(events),
    evidence: assessment.evidence,
    actor: reset?.actor ?? "system",
    reason: reset?.reason ?? "",
  };
}

function eventsOf({ clock }: ScoringDeps, node: ScoredNode, score: NodeScore | undefined): OutboxEvent[] {
  if (score === undefined) return [];
  const nodeId = node.node_hash;
  const change = reputationChanged(
    {
      nodeId,
      previousScore: score.previousScore,
      score: score.score,
      isOnProbation: score.isOnProbation,
      reason: score.reason === "" ? score.evidence : score.reason,
    },
    node.event_version + 1n,
    clock,
  );
  if (score.disqualification === undefined) return [change];
  const shutOut = {
    nodeId,
    previous: node.state,
    state: "disqualified",
    reason: score.disqualification,
    maintenanceUntil: null,
    reputationScore: score.score,
  } as const;
  return [change, ...stateChanged(shutOut, score.eventVersion, clock)];
}
