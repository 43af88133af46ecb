import { expect, test } from "vitest";
import { z } from "zod";
import { sql } from "#platform/postgres/sql.ts";
import { createProofFixture } from "../testing/proof-fixture.ts";

const DAY_MS = 86_400_000;

test("replicas that a wrong clock put off for years are asked for again, spread over the interval", async () => {
  await using fixture = await createProofFixture();
  const { pool, clock } = fixture.chunks;
  const [node] = await fixture.addNodes(1);
  if (node === undefined) throw new Error("a node");
  for (let count = 0; count < 8; count += 1) await fixture.store({ replicas: 1, sizeBytes: 1_500 });
  await pool.query(sql.unsafe`
    update node_registry.chunk_storage set next_proof_at = next_proof_at + interval '10 years'
    where id > (select min(id) from node_registry.chunk_storage)`);
  fixture.beat(node);
  await fixture.schedule();
  const { delays } = await pool.one(sql.type(z.strictObject({ delays: z.array(z.number()) }))`
    select array_agg(extract(epoch from next_proof_at - ${clock.now().toString()}::timestamptz)::float8 * 1000) as delays
    from node_registry.chunk_storage`);
  // The one that was due is asked for; nothing else is due at once.
  expect(fixture.beat(node)).toHaveLength(1);
  for (const delay of delays) expect(delay).toBeLessThanOrEqual(DAY_MS);
  expect(Math.max(...delays) - Math.min(...delays)).toBeGreaterThan(DAY_MS / 10);
});

test("what is put off as long as it may be stays put off", async () => {
  await using fixture = await createProofFixture();
  const { pool, clock } = fixture.chunks;
  const [node] = await fixture.addNodes(1);
  if (node === undefined) throw new Error("a node");
  await fixture.store({ replicas: 1 });
  const latest = clock.now().add({ milliseconds: 1.5 * DAY_MS });
  await pool.query(sql.unsafe`
    update node_registry.chunk_storage set next_proof_at = ${latest.toString()}::timestamptz`);
  fixture.beat(node);
  await fixture.schedule();
  const { is_same } = await pool.one(sql.type(z.strictObject({ is_same: z.boolean() }))`
    select next_proof_at = ${latest.toString()}::timestamptz as is_same from node_registry.chunk_storage`);
  expect(is_same).toBe(true);
});
