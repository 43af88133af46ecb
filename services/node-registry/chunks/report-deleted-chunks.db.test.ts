import { randomUUID } from "node:crypto";
import pg from "pg";
import { expect, test } from "vitest";
import { z } from "zod";
import { sql, zInt8 } from "#platform/postgres/sql.ts";
import { createChunkFixture, newChunks } from "../testing/chunk-fixture.ts";

const zWaiting = z.strictObject({ waiting: zInt8 });

test("a chunk that should have been kept is taken out before the node's holdings, whatever else was deleted", async () => {
  await using fixture = await createChunkFixture();
  const { pool, db } = fixture;
  const node = await fixture.addNode();
  const [released, kept] = newChunks(2);
  if (released === undefined || kept === undefined) throw new Error("two chunks");
  const upload = { userId: randomUUID(), uploadId: randomUUID() };
  const chunkHashes = [released.chunkHash, kept.chunkHash];
  await fixture.chunks.placeChunks({ ...upload, replicas: 1, chunks: [released, kept] });
  await node.client.reportStoredChunks({ chunkHashes });
  await fixture.chunks.releaseChunks({ ...upload, chunkHashes: [released.chunkHash] });
  // As whoever records a proof of it.
  const proof = new pg.Client({ connectionString: db.url() });
  await proof.connect();
  await proof.query("begin");
  await proof.query("select from node_registry.chunk_storage where chunk_hash = decode($1, 'hex') for update", [
    kept.chunkHash,
  ]);
  const reported = node.client.reportDeletedChunks({ chunkHashes });
  await expect
    .poll(
      async () =>
        (
          await pool.one(sql.type(zWaiting)`
            select count(*) as waiting from pg_stat_activity
            where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0`)
        ).waiting,
      { timeout: 30_000 },
    )
    .toBe(1n);
  const holdings = proof.query("select from node_registry.node_holdings for update nowait");
  await expect(holdings).resolves.toMatchObject({ rowCount: 1 });
  await proof.query("rollback");
  await proof.end();
  await reported;
  const zHoldings = z.strictObject({ confirmed_chunks: zInt8, pending_deletions: zInt8 });
  expect(
    await pool.one(sql.type(zHoldings)`select confirmed_chunks, pending_deletions from node_registry.node_holdings`),
  ).toEqual({ confirmed_chunks: 0n, pending_deletions: 0n });
});
