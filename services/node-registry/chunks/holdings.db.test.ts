import { expect, test } from "vitest";
import { z } from "zod";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql } from "#platform/postgres/sql.ts";
import { createChunkFixture } from "../testing/chunk-fixture.ts";
import { deadlocks } from "../testing/chunk-truth.ts";
import { addAssignments, changeHoldings, collectHoldingChanges, ensureHoldings } from "./holdings.store.ts";

const PATIENCE = { timeout: 20_000, interval: 20 };

function assigned(...rowIds: readonly bigint[]) {
  const changes = collectHoldingChanges();
  for (const rowId of rowIds) Object.assign(changes.of(rowId), { assignedChunks: 1n, assignedBytes: 10n });
  return changes;
}

function isAnyoneWaiting(pool: Pool): Promise<boolean> {
  return pool.exists(sql.unsafe`
    select from pg_locks l join pg_stat_activity a using (pid)
    where not l.granted and a.datname = current_database()`);
}

test("an exchange to a node without a row and a placement lock the nodes in the same order", async () => {
  await using f = await createChunkFixture();
  const [low, high] = (await f.addNodes(2)).map((node) => node.rowId);
  if (low === undefined || high === undefined) throw new Error("no nodes");
  await f.pool.transaction((tx) => addAssignments(tx, assigned(low)));
  const [isMade, mayGoOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const exchanging = f.pool.transaction(async (tx) => {
    await ensureHoldings(tx, assigned(low, high));
    isMade.resolve();
    await mayGoOn.promise;
    await changeHoldings(tx, assigned(low, high), f.clock.now());
  });
  await isMade.promise;
  const placing = f.pool.transaction((tx) => addAssignments(tx, assigned(low, high)));
  await expect.poll(() => isAnyoneWaiting(f.pool), PATIENCE).toBe(true);
  mayGoOn.resolve();
  await Promise.all([exchanging, placing]);
  const counts = await f.pool.anyFirst(sql.type(z.strictObject({ assigned_chunks: z.bigint() }))`
    select assigned_chunks from node_registry.node_holdings order by node_id`);
  expect(counts).toEqual([3n, 2n]);
  expect(await deadlocks(f.pool)).toBe(0n);
});
