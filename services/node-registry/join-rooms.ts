import { create } from "@bufbuild/protobuf";
import { ReputationSchema } from "#gen/decentrastore/node_registry/v1/node_explanation_pb.ts";
import type { ChunkRooms, Deps, NodeExplanation } from "./deps.ts";
import type { NodeRecord } from "./directory/node-record.ts";
import type { ProofRooms } from "./proof-rooms.ts";
import { countOpenChallenges } from "./proofs/challenges.store.ts";
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
      ...((await chunkRooms.explainNode?.(node)) ?? {}),
      ...(await explainReputation(deps, proofRooms, node)),
    }),
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
