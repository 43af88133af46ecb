import { expect, test } from "vitest";
import { answerOf, createProofFixture, type ProofFixture, type StoredChunk } from "../testing/proof-fixture.ts";
import { countRows, eventsAbout, evidenceOf, refusalOf, replicasOf } from "../testing/proof-queries.ts";

/** The holder of a chunk with one replica, and what it is asked. */
async function challengeOf(fixture: ProofFixture, chunk: StoredChunk) {
  const [holder] = chunk.holders;
  if (holder === undefined) throw new Error("nobody holds the chunk");
  fixture.beat(holder);
  await fixture.schedule();
  return { holder, command: await fixture.untilAsked(holder) };
}

function damaged(bytes: Uint8Array): Uint8Array {
  return bytes.map((byte) => byte ^ 1);
}

test("a leaf with its path sets verified_at, raises proof_count and puts the next proof off", async () => {
  await using fixture = await createProofFixture();
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 1 });
  const { holder, command } = await challengeOf(fixture, chunk);
  expect(command.prove.leafIndex).toBeTypeOf("number");
  expect(await fixture.answer(holder, command, chunk.bytes)).toBe(true);
  expect(await replicasOf(fixture.chunks.pool, chunk.chunkHash)).toMatchObject([{ proof_count: 1, is_verified: true }]);
  await fixture.live(60_000, [holder]);
  expect(fixture.beat(holder)).toEqual([]);
});

test("without a root the whole chunk is asked for, and its hash decides", async () => {
  await using fixture = await createProofFixture();
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 1, root: "none" });
  const { holder, command } = await challengeOf(fixture, chunk);
  expect(command.prove.leafIndex).toBeUndefined();
  expect(await fixture.answer(holder, command, chunk.bytes)).toBe(true);
});

test("a wrong answer is asked again as the whole chunk, and counts when that is wrong too", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(4);
  const chunk = await fixture.store({ replicas: 3 });
  const { holder, command } = await challengeOf(fixture, chunk);
  expect(await fixture.answer(holder, command, damaged(chunk.bytes))).toBe(false);
  expect(fixture.beat(holder)).toEqual([]);
  expect(await evidenceOf(pool, holder.rowId)).toEqual([]);
  const again = await fixture.untilAsked(holder);
  expect(again.prove.leafIndex).toBeUndefined();
  expect(again.commandId).not.toBe(command.commandId);
  expect(await fixture.answer(holder, again, damaged(chunk.bytes))).toBe(false);

  const stored = (await replicasOf(pool, chunk.chunkHash)).filter((replica) => replica.is_stored);
  expect(stored.map((replica) => replica.node_id)).not.toContain(holder.rowId);
  expect(stored).toHaveLength(2);
  expect(await evidenceOf(pool, holder.rowId)).toEqual(["proof_invalid"]);
  expect(await eventsAbout(pool, holder.nodeId)).toEqual(["NodeProofFailed"]);
  expect((await eventsAbout(pool, chunk.chunkHash)).at(-1)).toBe("ChunkLost");
  expect(await countRows(pool, "under_replicated_chunks")).toBe(1);
  await fixture.score();
  expect(fixture.chunks.deps.view.node(holder.nodeId)?.reputationScore).toBe(0.8);
  expect(await countRows(pool, "proof_strikes")).toBe(0);
});

test("a right answer to the retry clears the miss before it", async () => {
  await using fixture = await createProofFixture();
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 1, root: "none" });
  const { holder, command } = await challengeOf(fixture, chunk);
  expect(await fixture.answer(holder, command, damaged(chunk.bytes))).toBe(false);
  expect(await fixture.answer(holder, await fixture.untilAsked(holder), chunk.bytes)).toBe(true);
  expect(await countRows(fixture.chunks.pool, "proof_strikes")).toBe(0);
  expect(await evidenceOf(fixture.chunks.pool, holder.rowId)).toEqual([]);
});

test("a false root costs honest nodes nothing, and is not believed again", async () => {
  await using fixture = await createProofFixture();
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 2, root: "false" });
  const { holder, command } = await challengeOf(fixture, chunk);
  expect(await fixture.answer(holder, command, chunk.bytes)).toBe(false);
  expect(await fixture.answer(holder, await fixture.untilAsked(holder), chunk.bytes)).toBe(true);
  // The other replica is asked for the whole chunk at once.
  const other = chunk.holders[1];
  if (other === undefined) throw new Error("two holders");
  const asked = await fixture.untilAsked(other);
  expect(asked.prove.leafIndex).toBeUndefined();
  expect(await fixture.answer(other, asked, chunk.bytes)).toBe(true);
  expect(await evidenceOf(fixture.chunks.pool, holder.rowId)).toEqual([]);
});

test("a chunk that is too large to be sent counts against a node only where its root was proved", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 2, sizeBytes: 3 * 2 ** 20 });
  const [liar, honest] = chunk.holders;
  if (liar === undefined || honest === undefined) throw new Error("two holders");
  const failTwice = async () => {
    for (let round = 0; round < 2; round += 1) {
      await fixture.makeDue(chunk.chunkHash);
      const command = await fixture.untilAsked(liar);
      expect(command.prove.leafIndex).toBeTypeOf("number");
      expect(await fixture.answer(liar, command, damaged(chunk.bytes))).toBe(false);
    }
  };
  await failTwice();
  expect(await evidenceOf(pool, liar.rowId)).toEqual([]);
  expect((await replicasOf(pool, chunk.chunkHash)).filter((replica) => replica.is_stored)).toHaveLength(2);
  expect(await fixture.answer(honest, await fixture.untilAsked(honest), chunk.bytes)).toBe(true);
  await failTwice();
  expect(await evidenceOf(pool, liar.rowId)).toEqual(["proof_invalid"]);
});

test("the first answer stands: a repeat gets its verdict, whatever it holds, also when they race", async () => {
  await using fixture = await createProofFixture();
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 1 });
  const { holder, command } = await challengeOf(fixture, chunk);
  const right = () => fixture.answer(holder, command, chunk.bytes);
  const wrong = () => fixture.answer(holder, command, damaged(chunk.bytes));
  const verdicts = await Promise.all([right(), wrong(), right(), wrong(), wrong()]);
  const [verdict] = verdicts;
  expect(verdicts).toEqual(verdicts.map(() => verdict));
  expect([await right(), await wrong()]).toEqual([verdict, verdict]);
  const proofs = verdict === true ? 1 : 0;
  expect(await replicasOf(fixture.chunks.pool, chunk.chunkHash)).toMatchObject([{ proof_count: proofs }]);
  expect(await countRows(fixture.chunks.pool, "proof_strikes")).toBe(1 - proofs);
});

test("foreign, unknown and malformed answers are refused and leave the challenge open", async () => {
  await using fixture = await createProofFixture();
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 1 });
  const { holder, command } = await challengeOf(fixture, chunk);
  const [stranger] = await fixture.addNodes(1);
  const answer = answerOf(command, chunk.bytes);
  const leaf = answer.proof.case === "merkleProof" ? answer.proof.value : undefined;
  if (stranger === undefined || leaf === undefined) throw new Error("a stranger and a leaf");
  const submit = (changes: object, from = holder) =>
    refusalOf(from.proofs.submitStorageProof({ ...answer, ...changes }));
  const merkle = (value: object) => ({ proof: { case: "merkleProof", value: { ...leaf, ...value } } });
  expect(await submit({}, stranger)).toBe("NotFound COMMAND_NOT_FOUND");
  expect(await submit({ commandId: "01900000-0000-7000-8000-000000000000" })).toBe("NotFound COMMAND_NOT_FOUND");
  const malformed = [
    { commandId: "x" },
    { chunkHash: "AB" },
    { nonce: new Uint8Array(31) },
    merkle({ leaf: new Uint8Array(1025) }),
    merkle({ leaf: new Uint8Array(0) }),
    merkle({ path: Array.from({ length: 17 }, () => new Uint8Array(32)) }),
    merkle({ path: [new Uint8Array(33)] }),
    { proof: { case: "chunk", value: new Uint8Array(2 * 2 ** 20 + 1) } },
  ];
  for (const changes of malformed) expect(await submit(changes)).toBe("InvalidArgument INVALID_FIELD");
  expect(await fixture.answer(holder, command, chunk.bytes)).toBe(true);
});

test("the node's word that it does not hold a chunk counts at once, by either RPC", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(3);
  const first = await fixture.store({ replicas: 1 });
  const asked = await challengeOf(fixture, first);
  const { commandId, prove } = asked.command;
  await asked.holder.proofs.submitStorageProof({ commandId, chunkHash: prove.chunkHash, nonce: prove.nonce });
  expect(await evidenceOf(pool, asked.holder.rowId)).toEqual(["proof_failed"]);

  const second = await fixture.store({ replicas: 1 });
  const { holder, command } = await challengeOf(fixture, second);
  const before = await evidenceOf(pool, holder.rowId);
  await holder.client.reportLostChunks({ chunkHashes: [second.chunkHash] });
  await fixture.schedule(true);
  expect(await evidenceOf(pool, holder.rowId)).toEqual([...before, "proof_failed"]);
  expect(await eventsAbout(pool, second.chunkHash)).toContain("ChunkLost");
  expect(fixture.beat(holder).map((open) => open.commandId)).not.toContain(command.commandId);
});

test("a node that reports the loss of what it is asked for, and then is silent, has failed and not missed", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 1 });
  const { holder } = await challengeOf(fixture, chunk);
  await holder.client.reportLostChunks({ chunkHashes: [chunk.chunkHash] });
  await fixture.live(4 * 60_000, [holder]);
  expect(await evidenceOf(pool, holder.rowId)).toEqual(["proof_failed"]);
  expect(await countRows(pool, "proof_challenges")).toBe(0);
});

test("a released chunk proves nothing against anybody", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 1 });
  const { holder, command } = await challengeOf(fixture, chunk);
  await fixture.release(chunk);
  const { commandId, prove } = command;
  const gone = holder.proofs.submitStorageProof({ commandId, chunkHash: prove.chunkHash, nonce: prove.nonce });
  expect(await refusalOf(gone)).toBe("NotFound COMMAND_NOT_FOUND");
  expect(await evidenceOf(pool, holder.rowId)).toEqual([]);
  expect(await countRows(pool, "proof_challenges")).toBe(0);
});

test("a node that was shut out is neither asked nor punished for what it was asked", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 1 });
  const { holder } = await challengeOf(fixture, chunk);
  await fixture.chunks.changeNode(holder, { state: "disqualified" });
  await fixture.schedule(true);
  expect(await countRows(pool, "proof_challenges")).toBe(0);
  expect(await evidenceOf(pool, holder.rowId)).toEqual([]);
  expect((await replicasOf(pool, chunk.chunkHash))[0]).toMatchObject({ is_stored: true });
});
