import { expect, test } from "vitest";
import { z } from "zod";
import { transact } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql, zInt8 } from "#platform/postgres/sql.ts";
import { addEvidence } from "../reputation/evidence.store.ts";
import { createChunkFixture } from "../testing/chunk-fixture.ts";
import { countSuccesses } from "./success-counter.worker.ts";

const RETENTION_MS = 300_000;

async function countedOf(pool: Pool, nodeRowId: bigint) {
  return pool.one(sql.type(z.strictObject({ left: zInt8, counted: zInt8 }))`
    select (select count(*) from node_registry.proof_verdicts) as left,
      coalesce((select unlogged_successes from node_registry.node_reputations where node_id = ${nodeRowId}), 0) as counted`);
}

test("one round counts all that is old enough, although some of the oldest questions were answered late", async () => {
  await using fixture = await createChunkFixture();
  const { pool, clock } = fixture;
  const node = await fixture.addNode();
  const askedAtMs = clock.now().epochMilliseconds;
  await clock.advance(RETENTION_MS + 60_000);
  // Ids as UUIDv7 begin: the time of the question. Each ten thousandth was answered when it was nearly out of time.
  await pool.query(sql.unsafe`
    insert into node_registry.proof_verdicts (command_id, node_id, outcome, decided_at)
    select (lpad(to_hex(${askedAtMs}::bigint), 12, '0') || '7000' || '8000' || lpad(to_hex(n), 12, '0'))::uuid,
      ${node.rowId}, 'proved', ${clock.now().toString()}::timestamptz
        - case when n % 10000 = 1 then interval '1 minute' else interval '6 minutes' end
    from generate_series(1, 25000) as n`);
  await countSuccesses({ ...fixture.deps, retentionMs: RETENTION_MS });
  expect(await countedOf(pool, node.rowId)).toEqual({ left: 3n, counted: 24_997n });
  await clock.advance(RETENTION_MS);
  await countSuccesses({ ...fixture.deps, retentionMs: RETENTION_MS });
  expect(await countedOf(pool, node.rowId)).toEqual({ left: 0n, counted: 25_000n });
});

test("a node with more successes than one entry can count still gets its next entry", async () => {
  await using fixture = await createChunkFixture();
  const { pool } = fixture;
  const node = await fixture.addNode();
  await pool.query(sql.unsafe`
    insert into node_registry.node_reputations (node_id, unlogged_successes) values (${node.rowId}, 3000000000)`);
  const entry = { nodeRowId: node.rowId, kind: "proof_failed", count: 1, occurredAt: fixture.clock.now() } as const;
  await transact(fixture.deps, (tx) => addEvidence(tx, [entry]));
  const rows = await pool.any(sql.type(z.strictObject({ kind: z.string(), count: z.int() }))`
    select kind, count from node_registry.reputation_evidence where node_id = ${node.rowId} order by id`);
  expect(rows).toEqual([
    { kind: "proof_succeeded", count: 2_147_483_647 },
    { kind: "proof_failed", count: 1 },
  ]);
  expect((await countedOf(pool, node.rowId)).counted).toBe(3_000_000_000n - 2_147_483_647n);
});
