import type { Outbox, OutboxEvent } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { recordNodeChanges } from "../directory/changes.store.ts";
import { reputationChanged, stateChanged, stateEventCount } from "../directory/node-events.event.ts";
import type { NodeRecord } from "../directory/node-record.ts";
import { type Assessment, assess } from "./assess.ts";
import { type Failing, isMassFailure, TOGETHER_MS, withheldBecause } from "./brake.ts";
import { type LoggedEvidence, readEvidenceAfter } from "./evidence.store.ts";
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
  readonly entries: readonly LoggedEvidence[];
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
  const from = stored.map((row) => (row.formula === rules.formula.name ? row : beginning(row, rules)));
  const log = await readEvidenceAfter(tx, new Map(from.map((row) => [row.nodeRowId, row.appliedEvidenceId])));
  const assessed = from.map((row) => {
    const entries = log.get(row.nodeRowId) ?? [];
    return { row, entries, assessment: assess(row, entries, rules, now) };
  });
  await saveStandings(
    tx,
    assessed.map(({ row, entries, assessment }) => ({
      ...row,
      standing: assessment.standing,
      belowSince: assessment.belowSince,
      appliedEvidenceId: entries.at(-1)?.id ?? row.appliedEvidenceId,
    })),
  );
  const nodes = await lockScoredNodes(
    tx,
    assessed.map(({ row }) => row.nodeRowId),
  );
  const scored = assessed.flatMap(({ row, entries, assessment }): Scored[] => {
    const node = nodes.get(row.nodeRowId);
    return node === undefined ? [] : [{ node, entries, assessment, withheld: undefined }];
  });
  const { braked, withheld } = await brake(deps, tx, scored);
  return { records: await writeChanges(deps, tx, braked.filter(isChange)), withheld };
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
function isChange({ node, assessment, entries }: Scored): boolean {
  return (
    node.reputation_score !== assessment.standing.score ||
    node.is_on_probation !== (assessment.isOnProbation || node.is_young) ||
    (assessment.disqualification !== undefined && isPresent(node)) ||
    entries.some((entry) => entry.kind === "reset")
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

function toNodeScore({ node, assessment, entries, withheld }: Scored): NodeScore {
  const reset = entries.findLast((entry) => entry.kind === "reset");
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
