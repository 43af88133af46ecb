import { expect, test } from "vitest";
import { transact } from "#platform/outbox/outbox.ts";
import { createProofFixture } from "../testing/proof-fixture.ts";
import { evidenceOf } from "../testing/proof-queries.ts";

test("a loss that a node reports unasked is evidence that costs nothing", async () => {
  await using fixture = await createProofFixture();
  const { deps, pool } = fixture.chunks;
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 1 });
  const [holder] = chunk.holders;
  if (holder === undefined) throw new Error("nobody holds the chunk");
  const loss = { nodeRowId: holder.rowId, chunkHash: chunk.chunkHash };
  await transact(deps, (tx) => fixture.rooms.onLossReported(tx, [loss]));
  await fixture.score();
  expect(await evidenceOf(pool, holder.rowId)).toEqual(["loss_reported"]);
  expect(deps.view.node(holder.nodeId)?.reputationScore).toBe(1);
});

test("one that is reported when the chunk has been asked for is left to the challenge", async () => {
  await using fixture = await createProofFixture();
  const { deps, pool } = fixture.chunks;
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 1 });
  const [holder] = chunk.holders;
  if (holder === undefined) throw new Error("nobody holds the chunk");
  fixture.beat(holder);
  await fixture.schedule();
  const loss = { nodeRowId: holder.rowId, chunkHash: chunk.chunkHash };
  await transact(deps, (tx) => fixture.rooms.onLossReported(tx, [loss]));
  expect(await evidenceOf(pool, holder.rowId)).toEqual([]);
});
