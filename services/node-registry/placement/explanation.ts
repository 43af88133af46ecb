import { PlacementRule } from "#gen/decentrastore/node_registry/v1/placement_pb.ts";
import type { PlacementCandidate } from "../directory/network-view.ts";
import { type Pool, PROBATION_SHARE, STEPS, type Step } from "./draw.ts";
import { heldBy, rulesToRelax, spreadOver } from "./relaxed-rules.ts";
import { toProtoHardRules, toProtoRules } from "./rules.ts";
import { brokenHardRules, diversityOf, roomOf, type ScoreParts, scoreOf, scorePartsOf } from "./scoring.ts";
import { keepsVariety, mostDifferent } from "./variety.ts";

/** A chunk that could be placed now. */
export interface PlacementQuestion {
  readonly sizeBytes: number;
  readonly replicas: number;
  /** storage_nodes.id of nodes that hold or are assigned the chunk. */
  readonly holders: ReadonlySet<bigint>;
  /** Replicas that count already. */
  readonly counting: number;
  /** Nodes that have not confirmed its deletion. */
  readonly deleting: ReadonlySet<bigint>;
}

export interface Explained {
  readonly nodeId: string;
  readonly isEligible: boolean;
  readonly brokenRules: readonly PlacementRule[];
  readonly roomBytes: number;
  readonly parts: ScoreParts;
  readonly weight: number;
  readonly drawShare: number;
}

export interface Explanation {
  /** By node_id. */
  readonly candidates: readonly Explained[];
  readonly eligibleNodes: number;
  readonly isPlaceable: boolean;
  readonly relaxed: readonly PlacementRule[];
}

/** The same rules and weights as the draw, for every node; a rule that gives way everywhere is named as relaxed. */
export function explainCandidates(
  candidates: readonly PlacementCandidate[],
  question: PlacementQuestion,
  assignedBytesOf: (rowId: bigint) => number,
): Explanation {
  const hard = candidates.map((node) => hardRulesOf(node, question, roomOf(node, assignedBytesOf(node.rowId))));
  const able = candidates.filter((_, index) => hard[index]?.length === 0);
  const holders = candidates.filter((node) => question.holders.has(node.rowId));
  const missing = Math.max(0, question.replicas - question.counting);
  const relaxed = toProtoRules(rulesToRelax(able, holders, missing));
  const soft = candidates.map((node) => sharedRulesOf(node, holders));
  const isEligible = (index: number) =>
    hard[index]?.length === 0 && (soft[index] ?? []).every((rule) => relaxed.includes(rule));
  const eligible = candidates.flatMap((node, index) =>
    isEligible(index) ? [{ node, shared: soft[index] ?? [] }] : [],
  );
  // Whoever could take a chunk of the size, as in the pools of the draw: also nodes that may not have this chunk.
  const fitting = candidates.filter(
    (node) => brokenHardRules(node, roomOf(node, assignedBytesOf(node.rowId)), question.sizeBytes).length === 0,
  );
  const neighboursOf = countNeighbours(fitting);
  const weightOf = (node: PlacementCandidate) =>
    scoreOf(scorePartsOf(node, roomOf(node, assignedBytesOf(node.rowId)), diversityOf(neighboursOf(node))));
  const shares = drawShares(eligible, { able, holders, missing }, weightOf, probationChance(fitting, weightOf));
  const explained = candidates.map((node, index): Explained => {
    const roomBytes = roomOf(node, assignedBytesOf(node.rowId));
    return {
      nodeId: node.nodeId,
      isEligible: isEligible(index),
      brokenRules: [...(hard[index] ?? []), ...(soft[index] ?? [])].sort((a, b) => a - b),
      roomBytes,
      parts: scorePartsOf(node, roomBytes, diversityOf(neighboursOf(node))),
      weight: isEligible(index) ? weightOf(node) : 0,
      drawShare: shares.get(node.rowId) ?? 0,
    };
  });
  return {
    candidates: explained.sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1)),
    eligibleNodes: eligible.length,
    isPlaceable: eligible.length >= missing,
    relaxed,
  };
}

function countNeighbours(able: readonly PlacementCandidate[]) {
  const byNetwork = Map.groupBy(able, (node) => node.peerNetwork);
  const byRegion = Map.groupBy(able, (node) => node.region);
  return (node: PlacementCandidate) => ({
    sharingNetwork: byNetwork.get(node.peerNetwork)?.length ?? 0,
    sharingRegion: byRegion.get(node.region)?.length ?? 0,
    total: able.length,
  });
}

function hardRulesOf(node: PlacementCandidate, question: PlacementQuestion, roomBytes: number): PlacementRule[] {
  const rules = toProtoHardRules(brokenHardRules(node, roomBytes, question.sizeBytes));
  if (question.holders.has(node.rowId)) rules.push(PlacementRule.ONE_REPLICA_PER_NODE);
  if (question.deleting.has(node.rowId)) rules.push(PlacementRule.NO_PENDING_DELETION);
  return rules;
}

function sharedRulesOf(node: PlacementCandidate, holders: readonly PlacementCandidate[]): PlacementRule[] {
  const others = holders.filter((holder) => holder.rowId !== node.rowId);
  const rules: PlacementRule[] = [];
  if (others.some((holder) => holder.peerNetwork === node.peerNetwork)) rules.push(PlacementRule.DIFFERENT_SUBNETS);
  if (others.some((holder) => holder.region === node.region)) rules.push(PlacementRule.DIFFERENT_REGIONS);
  return rules;
}

interface Eligible {
  readonly node: PlacementCandidate;
  readonly shared: readonly PlacementRule[];
}

interface Standing {
  readonly able: readonly PlacementCandidate[];
  readonly holders: readonly PlacementCandidate[];
  readonly missing: number;
}

/** By row id, the probability of being drawn for the next replica, which falls to nodes on probation by this chance. */
function drawShares(
  eligible: readonly Eligible[],
  standing: Standing,
  weightOf: (node: PlacementCandidate) => number,
  probation: number,
): Map<bigint, number> {
  const shares = new Map<bigint, number>();
  for (const [fallsTo, chance] of [["established", 1 - probation] as const, ["probation", probation] as const]) {
    const drawn = drawnNext(eligible, standing, fallsTo);
    const sum = sumOf(drawn, weightOf);
    for (const node of sum === 0 ? [] : drawn) {
      shares.set(node.rowId, (shares.get(node.rowId) ?? 0) + (chance * weightOf(node)) / sum);
    }
  }
  return shares;
}

/** Whom the draw asks: of its first step that has somebody, those who leave enough different ones for other replicas. */
function drawnNext(
  eligible: readonly Eligible[],
  { able, holders, missing }: Standing,
  fallsTo: Pool,
): readonly PlacementCandidate[] {
  const held = heldBy(holders);
  const isIn = (node: PlacementCandidate, pool: Pool) => node.isOnProbation === (pool === "probation");
  const drawnIn = (step: Step): readonly PlacementCandidate[] => {
    const rules = toProtoRules(new Set(step.relaxed));
    const asked = eligible
      .filter(({ node, shared }) => isIn(node, step.pool) && shared.every((rule) => rules.includes(rule)))
      .map(({ node }) => node);
    if (asked.length === 0 || !step.networks || !step.regions) return asked;
    const others = fallsTo === "probation" ? "established" : step.pool;
    const spread = spreadOver(able.filter((node) => isIn(node, others)));
    const possible = mostDifferent(spread, held, missing);
    const known = new Map<string, boolean>();
    return asked.filter(({ region, peerNetwork: network }) => {
      const key = JSON.stringify([region, network]);
      const leaves = known.get(key) ?? keepsVariety(spread, held, { region, network }, possible);
      known.set(key, leaves);
      return leaves;
    });
  };
  for (const step of STEPS[fallsTo]) {
    const drawn = drawnIn(step);
    if (drawn.length > 0) return drawn;
  }
  return [];
}

function probationChance(nodes: readonly PlacementCandidate[], weightOf: (node: PlacementCandidate) => number): number {
  const all = sumOf(nodes, weightOf);
  const probation = nodes.filter((node) => node.isOnProbation);
  return all === 0 ? 0 : Math.min(PROBATION_SHARE, sumOf(probation, weightOf) / all);
}

function sumOf(nodes: readonly PlacementCandidate[], weightOf: (node: PlacementCandidate) => number): number {
  return nodes.reduce((sum, node) => sum + weightOf(node), 0);
}
