import { expect, test } from "vitest";
import { sql } from "#platform/postgres/sql.ts";
import { createProofFixture } from "../testing/proof-fixture.ts";
import { countRows } from "../testing/proof-queries.ts";
import { damagedChunk, nodesOf, repairOf } from "../testing/repair-fixture.ts";

test("a deadline or a pause that a wrong clock has set years ahead holds up no repair", async () => {
  await using fixture = await createProofFixture();
  const { pool, clock } = fixture.chunks;
  await damagedChunk(fixture, 6);
  const repair = repairOf(fixture.chunks);
  await repair.round();
  const [first] = repair.fetches(nodesOf(fixture));
  await pool.query(sql.unsafe`update node_registry.chunk_repairs set deadline = deadline + interval '10 years'`);
  await repair.round();
  expect(await countRows(pool, "chunk_repairs")).toBe(0);
  await pool.query(sql.unsafe`update node_registry.repair_pauses set until = until + interval '10 years'`);
  await repair.round();
  const [second] = repair.fetches(nodesOf(fixture));
  expect(second?.chunkHash).toBe(first?.chunkHash);
  // It has its usual time.
  await clock.advance(9 * 60_000);
  await repair.round();
  expect(repair.fetches(nodesOf(fixture)).map((fetch) => fetch.commandId)).toEqual([second?.commandId]);
});
