import { createFetchBoard } from "../repair/fetch-board.worker.ts";
import { newWalk, planOnce } from "../repair/planner.worker.ts";
import type { ChunkFixture } from "./chunk-fixture.ts";
import type { ProofFixture, StoredChunk } from "./proof-fixture.ts";

/** Repair on the rooms of a fixture; a round of everything, as the planner's process and a node's process turn. */
export function repairOf(fixture: ChunkFixture) {
  const deps = { ...fixture.deps, placer: fixture.rooms.placer };
  const board = createFetchBoard(deps);
  return {
    round: async () => {
      while (await planOnce(deps, newWalk()));
      await board.refresh();
    },
    /** What every node is told to fetch. */
    fetches: (nodes: readonly { readonly nodeId: string }[]) =>
      nodes.flatMap(({ nodeId }) =>
        board
          .commandsFor(nodeId, 16)
          .flatMap(({ command, commandId }) =>
            command.case === "fetchChunk" ? [{ nodeId, commandId, ...command.value }] : [],
          ),
      ),
  };
}

/** A chunk on three of the nodes, of which one has lost it. */
export async function damagedChunk(fixture: ProofFixture, nodes: number): Promise<StoredChunk> {
  await fixture.addNodes(nodes);
  const chunk = await fixture.store({ replicas: 3 });
  await chunk.holders[0]?.client.reportLostChunks({ chunkHashes: [chunk.chunkHash] });
  return chunk;
}

/** Every node that the fixture knows. */
export function nodesOf(fixture: ProofFixture) {
  return fixture.chunks.deps.view.candidates();
}
