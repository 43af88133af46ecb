import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { sql } from "#platform/postgres/sql.ts";
import { createChunkFixture, newChunks } from "./chunk-fixture.ts";
import { contradictions } from "./chunk-truth.ts";

// What all the chunk tests end with must itself be able to fail.

const CORRUPTIONS: Record<string, ReturnType<typeof sql.fragment>> = {
  "replica numbers": sql.fragment`update node_registry.chunks set confirmed_replicas = confirmed_replicas + 1`,
  "live replicas": sql.fragment`update node_registry.chunks set live_replicas = 0 where confirmed_replicas > 0`,
  "a life without use": sql.fragment`delete from node_registry.upload_chunks`,
  "assigned bytes": sql.fragment`update node_registry.node_holdings set assigned_bytes = assigned_bytes + 1`,
  digests: sql.fragment`update node_registry.node_holdings set digest = mod(digest + 1, 18446744073709551616)`,
  "pending deletions": sql.fragment`update node_registry.node_holdings set pending_deletions = 1`,
  usage: sql.fragment`update node_registry.user_usage set charged_bytes = charged_bytes + 1`,
  "what an upload waits for": sql.fragment`update node_registry.uploads set remaining_chunks = 1 where state = 'open'`,
  "the list of under-replicated chunks": sql.fragment`delete from node_registry.under_replicated_chunks`,
};

test.for(Object.entries(CORRUPTIONS))("%s that are wrong are found", async ([, corruption]) => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(3), replicas: 3 };
  const { chunks } = await f.chunks.placeChunks(upload);
  const [chunk] = chunks;
  for (const { nodeId } of chunk?.nodes.slice(0, 2) ?? []) {
    await f.nodeById(nodeId).client.reportStoredChunks({ chunkHashes: [chunk?.chunkHash ?? ""] });
  }
  expect(await contradictions(f.pool)).toEqual([]);
  await f.pool.query(sql.unsafe`${corruption}`);
  expect(await contradictions(f.pool)).not.toEqual([]);
});
