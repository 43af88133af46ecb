import { create } from "@bufbuild/protobuf";
import { ReputationSchema } from "#gen/decentrastore/node_registry/v1/node_explanation_pb.ts";
import { PlacementRule } from "#gen/decentrastore/node_registry/v1/placement_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { ChunkRooms, ChunkStats, Deps, NodeExplanation } from "./deps.ts";
import type { NodeRecord } from "./directory/node-record.ts";
import { toProtoHardRules } from "./placement/rules.ts";
import { brokenHardRules, roomOf } from "./placement/scoring.ts";
import type { ProofRooms } from "./proof-rooms.ts";
import { countOpenChallenges } from "./proofs/challenges.store.ts";
import { readChunkStats, readHoldings } from "./repair/figures.store.ts";
import type { RepairRooms } from "./repair-rooms.ts";
import { evidenceAfter } from "./reputation/evidence.store.ts";
import { createArithmetic, toProtoReputation } from "./reputation/reputation-message.ts";
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
  const holdings = await readHoldings(deps.pool, node.rowId);
  const differsSince = holdings.digest_differs_since;
  const broken = brokenHardRules(node, roomOf(node, Number(holdings.assigned_bytes)), 1);
  return {
    brokenRules: [...toProtoHardRules(broken), ...(node.isOnProbation ? [PlacementRule.PROBATION_SHARE] : [])],
    assignedBytes: holdings.assigned_bytes,
    assignedChunkCount: holdings.assigned_chunks,
    confirmedChunkCount: holdings.confirmed_chunks,
    deletingChunkCount: holdings.pending_deletions,
    ...(differsSince === null ? {} : { digestDiffersSince: toTimestamp(differsSince) }),
  };
}

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
  const arithmetic = createArithmetic(rules.formula);
  for await (const page of evidenceAfter(deps.pool, new Map([[node.rowId, 0n]]))) arithmetic.add(page);
  const current = stored ?? { standing: rules.formula.start, unloggedSuccesses: 0, belowSince: undefined };
  return {
    openChallenges: await countOpenChallenges(deps.pool, node.rowId),
    reputation: create(ReputationSchema, toProtoReputation(current, arithmetic.newestFirst(), rules)),
  };
}
