import { PlacementRule } from "#gen/decentrastore/node_registry/v1/placement_pb.ts";
import type { PlacementCandidate } from "../directory/network-view.ts";
import { PROBATION_SHARE } from "./draw.ts";
import { rulesToRelax } from "./relaxed-rules.ts";
import { toProtoHardRules, toProtoRules } from "./rules.ts";
import { brokenHardRules, diversityOf, roomOf, type ScoreParts, scoreOf, scorePartsOf } from "./scoring.ts";

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
  const eligible = candidates.filter((_, index) => isEligible(index));
  const neighboursOf = countNeighbours(able);
  const weights = new Map<bigint, number>();
  for (const node of eligible) {
    const roomBytes = roomOf(node, assignedBytesOf(node.rowId));
    weights.set(node.rowId, scoreOf(scorePartsOf(node, roomBytes, diversityOf(neighboursOf(node)))));
  }
  const shareOf = drawShares(eligible, weights);
  const explained = candidates.map((node, index): Explained => {
    const roomBytes = roomOf(node, assignedBytesOf(node.rowId));
    return {
      nodeId: node.nodeId,
      isEligible: isEligible(index),
      brokenRules: [...(hard[index] ?? []), ...(soft[index] ?? [])].sort((a, b) => a - b),
      roomBytes,
      parts: scorePartsOf(node, roomBytes, diversityOf(neighboursOf(node))),
      weight: weights.get(node.rowId) ?? 0,
      drawShare: shareOf(node),
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

/** The probability of being drawn first: nodes on probation share what is set aside for them, and no more. */
function drawShares(eligible: readonly PlacementCandidate[], weights: ReadonlyMap<bigint, number>) {
  const sums = { probation: 0, established: 0 };
  for (const node of eligible) {
    sums[node.isOnProbation ? "probation" : "established"] += weights.get(node.rowId) ?? 0;
  }
  const all = sums.probation + sums.established;
  const isWithoutEstablished = sums.established === 0;
  const probation = all === 0 ? 0 : isWithoutEstablished ? 1 : Math.min(PROBATION_SHARE, sums.probation / all);
  return (node: PlacementCandidate): number => {
    const weight = weights.get(node.rowId);
    if (weight === undefined) return 0;
    const [share, sum] = node.isOnProbation ? [probation, sums.probation] : [1 - probation, sums.established];
    return sum === 0 ? 0 : (share * weight) / sum;
  };
}
