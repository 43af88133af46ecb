import { randomUUID } from "node:crypto";
import { type ChunkFixture, newChunks } from "./chunk-fixture.ts";

/** An upload of a new user; `report(chunk, replica)` has one of the chosen nodes say that it stores a chunk. */
export async function placedUpload(f: ChunkFixture, count: number, replicas = 3) {
  const ids = { userId: randomUUID(), uploadId: randomUUID() };
  const chunks = newChunks(count);
  const answer = await f.chunks.placeChunks({ ...ids, chunks, replicas });
  const nodesOf = (index: number) => (answer.chunks[index]?.nodes ?? []).map((node) => f.nodeById(node.nodeId));
  const report = async (index: number, replica: number) => {
    const chunkHash = chunks[index]?.chunkHash ?? "";
    return (await nodesOf(index)[replica]?.client.reportStoredChunks({ chunkHashes: [chunkHash] }))?.results[0];
  };
  return { ...ids, chunks, answer, nodesOf, report };
}
