import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { createProofFixture, type ProofFixture, type ProvingNode, type StoredChunk } from "../testing/proof-fixture.ts";
import { evidenceOf, replicasOf } from "../testing/proof-queries.ts";

function twoHolders({ holders: [first, second] }: StoredChunk): [ProvingNode, ProvingNode] {
  if (first === undefined || second === undefined) throw new Error("two holders");
  return [first, second];
}

/** Beats without an answer until the miss is found and the chunk is asked for again. */
async function missOnce(fixture: ProofFixture, node: ProvingNode, chunk: StoredChunk) {
  await fixture.makeDue(chunk.chunkHash);
  const missed = await fixture.untilAsked(node);
  for (let beats = 0; beats < 100; beats += 1) {
    await fixture.live(15_000, [node]);
    const again = fixture.beat(node).find(({ commandId }) => commandId !== missed.commandId);
    if (again !== undefined) return again;
  }
  throw new Error("the node is not asked again");
}

test("a false root that the owner names after the chunk was proved whole convicts no node that missed once", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 2, root: "none" });
  const [witness, accused] = twoHolders(chunk);
  for (const holder of [witness, accused]) {
    expect(await fixture.answer(holder, await fixture.untilAsked(holder), chunk.bytes)).toBe(true);
  }
  const { userId, chunkHash, bytes } = chunk;
  const again = { chunkHash, sizeBytes: BigInt(bytes.length), blockIndex: 0, proofRoot: "ab".repeat(32) };
  await fixture.chunks.chunks.placeChunks({ userId, uploadId: randomUUID(), replicas: 2, chunks: [again] });

  const retry = await missOnce(fixture, accused, chunk);
  expect(retry.prove.leafIndex).toBeTypeOf("number");
  expect(await fixture.answer(accused, retry, bytes)).toBe(false);
  expect(await evidenceOf(pool, accused.rowId)).toEqual([]);
  const whole = await fixture.untilAsked(accused);
  expect(whole.prove.leafIndex).toBeUndefined();
  expect(await fixture.answer(accused, whole, bytes)).toBe(true);
  expect((await replicasOf(pool, chunkHash)).filter((replica) => replica.is_stored)).toHaveLength(2);
});

test("a large chunk counts against a node that has proved its root before, also where no other node has it", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 1, sizeBytes: 3 * 2 ** 20 });
  const [holder] = chunk.holders;
  if (holder === undefined) throw new Error("one holder");
  expect(await fixture.answer(holder, await fixture.untilAsked(holder), chunk.bytes)).toBe(true);
  const thrownAway = new Uint8Array(chunk.bytes.length);
  await fixture.makeDue(chunk.chunkHash);
  for (let round = 0; round < 2; round += 1) {
    expect(await fixture.answer(holder, await fixture.untilAsked(holder), thrownAway)).toBe(false);
  }
  expect(await evidenceOf(pool, holder.rowId)).toEqual(["proof_invalid"]);
});
