import { create } from "@bufbuild/protobuf";
import { ReputationSchema } from "#gen/decentrastore/node_registry/v1/node_explanation_pb.ts";
import { PlacementRule } from "#gen/decentrastore/node_registry/v1/placement_pb.ts";
import type { ChunkRooms, ChunkStats, Deps, NodeExplanation } from "./deps.ts";
import type { NodeRecord } from "./directory/node-record.ts";
import { brokenHardRule, type HardRule } from "./placement/scoring.ts";
import type { ProofRooms } from "./proof-rooms.ts";
import { countOpenChallenges } from "./proofs/challenges.store.ts";
import { findHoldings, readChunkStats } from "./repair/figures.store.ts";
import type { RepairRooms } from "./repair-rooms.ts";
import { readEvidenceAfter } from "./reputation/evidence.store.ts";
import { toProtoReputation } from "./reputation/reputation-message.ts";
import { findStanding } from "./reputation/standings.store.ts";

/**
 * The chunk rooms as the lower ones see them, with what the upper ones add: fetches and challenges behind the chunk
 * rooms' own commands (each kind is bounded, so none starves another), and reputation in ExplainNode.
 */
export function joinRooms(
  deps: Deps,
  chunkRooms: ChunkRooms,
  proofRooms: ProofRooms,
  repairRooms: RepairRooms | undefined,
): ChunkRooms {
  return {
    ...chunkRooms,
    commandsFor: (nodeId, limit) => {
      const own = chunkRooms.commandsFor(nodeId, limit);
      const fetches = repairRooms?.commandsFor(nodeId, limit - own.length) ?? [];
      const proofs = proofRooms.commandsFor(nodeId, limit - own.length - fetches.length);
      return fetches.length + proofs.length === 0 ? own : [...own, ...fetches, ...proofs];
    },
    explainNode: async (node) => ({
      ...(await explainHoldings(deps, node)),
      ...((await chunkRooms.explainNode?.(node)) ?? {}),
      ...(await explainReputation(deps, proofRooms, node)),
    }),
    networkStats: async () => ({ ...(await chunkStats(deps)), ...((await chunkRooms.networkStats?.()) ?? {}) }),
  };
}

async function explainHoldings(deps: Deps, node: NodeRecord): Promise<Partial<NodeExplanation>> {
  const holdings = await findHoldings(deps.pool, node.rowId);
  const assignedBytes = holdings?.assigned_bytes ?? 0n;
  const broken = brokenHardRule(node, Number(assignedBytes), 1);
  return {
    brokenRules: [
      ...(broken === undefined ? [] : [hardRules[broken]]),
      ...(node.isOnProbation ? [PlacementRule.PROBATION_SHARE] : []),
    ],
    assignedBytes,
    assignedChunkCount: holdings?.assigned_chunks ?? 0n,
    confirmedChunkCount: holdings?.confirmed_chunks ?? 0n,
    deletingChunkCount: holdings?.pending_deletions ?? 0n,
  };
}

const hardRules: Readonly<Record<HardRule, PlacementRule>> = {
  not_in_service: PlacementRule.IN_SERVICE,
  not_online: PlacementRule.ONLINE,
  not_enough_space: PlacementRule.FREE_SPACE,
};

async function chunkStats(deps: Deps): Promise<ChunkStats> {
  const stats = await readChunkStats(deps.pool);
  return {
    chunkCount: stats.chunk_count,
    chunkBytes: stats.chunk_bytes,
    underReplicatedChunkCount: stats.under_replicated,
    lostChunkCount: stats.lost,
  };
}

async function explainReputation(
  deps: Deps,
  { rules }: ProofRooms,
  node: NodeRecord,
): Promise<Pick<NodeExplanation, "openChallenges" | "reputation">> {
  const stored = await findStanding(deps.pool, node.rowId);
  const log = (await readEvidenceAfter(deps.pool, new Map([[node.rowId, 0n]]))).get(node.rowId) ?? [];
  const current = stored ?? { standing: rules.formula.start, unloggedSuccesses: 0, belowSince: undefined };
  return {
    openChallenges: await countOpenChallenges(deps.pool, node.rowId),
    reputation: create(ReputationSchema, toProtoReputation(current, log, rules)),
  };
}
