import { expect, test } from "vitest";
import { z } from "zod";
import { sql, zInt8 } from "#platform/postgres/sql.ts";
import { type AskedProof, createProofFixture, type ProofFixture, type ProvingNode } from "../testing/proof-fixture.ts";
import { countRows, eventsAbout, evidenceOf, refusalOf, replicasOf } from "../testing/proof-queries.ts";

const MINUTE = 60_000;

function first<T>(list: readonly T[]): T {
  const [item] = list;
  if (item === undefined) throw new Error("the list is empty");
  return item;
}

async function askedHolder(fixture: ProofFixture) {
  const chunk = await fixture.store({ replicas: 1 });
  const holder = first(chunk.holders);
  fixture.beat(holder);
  await fixture.schedule();
  return { chunk, holder, command: await fixture.untilAsked(holder) };
}

test("a node that beats but does not answer is asked again, then the replica is lost and the late answer refused", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(3);
  const { chunk, holder, command } = await askedHolder(fixture);
  await fixture.live(MINUTE, [holder]);
  expect(await countRows(pool, "proof_strikes")).toBe(0);
  await fixture.live(1.5 * MINUTE, [holder]);
  expect(await countRows(pool, "proof_strikes")).toBe(1);
  expect(await evidenceOf(pool, holder.rowId)).toEqual([]);
  expect(await refusalOf(fixture.answer(holder, command, chunk.bytes))).toBe("FailedPrecondition COMMAND_EXPIRED");
  await fixture.live(6 * MINUTE, [holder]);
  expect(await evidenceOf(pool, holder.rowId)).toEqual(["proof_timed_out"]);
  expect(await eventsAbout(pool, holder.nodeId)).toEqual(["NodeProofFailed"]);
  expect(await eventsAbout(pool, chunk.chunkHash)).toContain("ChunkLost");
  await fixture.score();
  expect(fixture.chunks.deps.view.node(holder.nodeId)?.reputationScore).toBe(0.95);
});

test("a deadline is told with each repetition, and is the rest of the window", async () => {
  await using fixture = await createProofFixture();
  await fixture.addNodes(3);
  const { holder } = await askedHolder(fixture);
  const secondsLeft = () => {
    const { deadline } = first(fixture.beat(holder));
    return Number(deadline?.seconds ?? 0n) - Math.floor(fixture.chunks.clock.now().epochMilliseconds / 1_000);
  };
  await fixture.live(15_000, [holder]);
  const atFirst = secondsLeft();
  await fixture.live(45_000, [holder]);
  expect(atFirst - secondsLeft()).toBe(45);
});

test.each<[string, (fixture: ProofFixture, holder: ProvingNode) => Promise<void>]>([
  [
    "this process stood still",
    async (fixture) => {
      await fixture.chunks.clock.advance(10 * MINUTE);
      fixture.rooms.proofs.reception.tick();
    },
  ],
  [
    "answers could not be taken",
    async (fixture, holder) => {
      for (let beats = 0; beats < 40; beats += 1) {
        await fixture.live(15_000, [holder]);
        fixture.rooms.proofs.reception.broken();
      }
    },
  ],
  [
    "the node itself was cut off",
    async (fixture) => {
      await fixture.live(40 * MINUTE, []);
    },
  ],
  [
    "the node is in maintenance, and beats",
    async (fixture, holder) => {
      await fixture.chunks.changeNode(holder, { state: "maintenance" });
      await fixture.live(10 * MINUTE, [holder]);
      await fixture.chunks.changeNode(holder, { state: "in_service" });
    },
  ],
])("time does not count while %s", async (_, outage) => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(3);
  const { chunk, holder } = await askedHolder(fixture);
  await fixture.live(1.5 * MINUTE, [holder]);
  await outage(fixture, holder);
  await fixture.live(15_000, [holder]);
  expect(await countRows(pool, "proof_strikes")).toBe(0);
  expect(await fixture.answer(holder, await fixture.untilAsked(holder), chunk.bytes)).toBe(true);
  expect(await evidenceOf(pool, holder.rowId)).toEqual([]);
});

test("a killed process's challenges are found by the next one, answered there, and get their whole window", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(3);
  const { chunk, holder, command } = await askedHolder(fixture);
  await fixture.live(1.5 * MINUTE, [holder]);
  const successor = await fixture.anotherProcess();
  const again = await successor.untilAsked({ ...holder });
  expect(again.commandId).toBe(command.commandId);
  await successor.live(MINUTE, [holder]);
  expect(await countRows(pool, "proof_strikes")).toBe(0);
  const node = { ...holder, proofs: successor.proverOf(holder).proofs };
  expect(await successor.answer(node, again, chunk.bytes)).toBe(true);
  // The first process still has it on its board; its next word is the verdict that stands.
  expect(await fixture.answer(holder, command, new Uint8Array(chunk.bytes.length))).toBe(true);
  expect(await replicasOf(pool, chunk.chunkHash)).toMatchObject([{ proof_count: 1 }]);
});

test("an answer is taken by a process that never heard of the challenge", async () => {
  await using fixture = await createProofFixture();
  await fixture.addNodes(3);
  const { chunk, holder, command } = await askedHolder(fixture);
  const other = await fixture.anotherProcess();
  expect(await other.answer(other.proverOf(holder), command, chunk.bytes)).toBe(true);
});

test("processes that look at the same nodes ask for each replica once", async () => {
  await using fixture = await createProofFixture({ config: { PROOF_NODE_BUDGET: 16 } });
  const { pool } = fixture.chunks;
  const nodes = await fixture.addNodes(3);
  for (let count = 0; count < 10; count += 1) await fixture.store({ replicas: 3 });
  const others = await Promise.all([fixture.anotherProcess(), fixture.anotherProcess()]);
  const all = [fixture, ...others];
  for (const process of all) process.beat(...nodes);
  await Promise.all(all.map((process) => process.schedule()));
  await Promise.all(all.map((process) => process.schedule()));
  expect(await countRows(pool, "proof_challenges")).toBe(30);
});

test("a node gets no more at a time than its budget, and everything in its turn", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  const [node] = await fixture.addNodes(1);
  if (node === undefined) throw new Error("a node");
  const chunks = new Map<string, Uint8Array>();
  for (let count = 0; count < 11; count += 1) {
    const { chunkHash, bytes } = await fixture.store({ replicas: 1, sizeBytes: 2_000 });
    chunks.set(chunkHash, bytes);
  }
  const asked: string[] = [];
  for (let round = 0; round < 6; round += 1) {
    fixture.beat(node);
    await fixture.schedule();
    const commands: readonly AskedProof[] = fixture.beat(node);
    expect(commands.length).toBeLessThanOrEqual(4);
    for (const command of commands) {
      asked.push(command.prove.chunkHash);
      const bytes = chunks.get(command.prove.chunkHash) ?? new Uint8Array();
      expect(await fixture.answer(node, command, bytes)).toBe(true);
    }
  }
  expect(asked.toSorted()).toEqual([...chunks.keys()].toSorted());
  const { least } = await pool.one(sql.type(z.strictObject({ least: z.int() }))`
    select min(proof_count) as least from node_registry.chunk_storage`);
  expect(least).toBe(1);
});

test("what is assigned but not stored is not asked for, and its turn comes later", async () => {
  await using fixture = await createProofFixture();
  const { pool, clock } = fixture.chunks;
  const nodes = await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 3 });
  await pool.query(sql.unsafe`update node_registry.chunk_storage set stored_at = null`);
  fixture.beat(...nodes);
  await fixture.schedule();
  expect(await countRows(pool, "proof_challenges")).toBe(0);
  const { due } = await pool.one(sql.type(z.strictObject({ due: zInt8 }))`
    select count(*) as due from node_registry.chunk_storage
    where chunk_hash = decode(${chunk.chunkHash}, 'hex') and next_proof_at <= ${clock.now().toString()}::timestamptz`);
  expect(due).toBe(0n);
});

test("successes are counted once, however many processes count, and raise a low score", async () => {
  await using fixture = await createProofFixture();
  await fixture.addNodes(3);
  const failed = await askedHolder(fixture);
  await fixture.answer(failed.holder, failed.command, failed.chunk.bytes);
  const { holder } = failed;
  await holder.client.reportLostChunks({ chunkHashes: [failed.chunk.chunkHash] });
  const { commandId, prove } = await fixture.store({ replicas: 3 }).then(() => fixture.untilAsked(holder));
  await holder.proofs.submitStorageProof({ commandId, chunkHash: prove.chunkHash, nonce: prove.nonce });
  await fixture.score();
  expect(fixture.chunks.deps.view.node(holder.nodeId)?.reputationScore).toBe(0.9);
  await fixture.chunks.clock.advance(6 * MINUTE);
  await Promise.all([fixture.score(), fixture.score(), fixture.score()]);
  await fixture.score();
  expect(fixture.chunks.deps.view.node(holder.nodeId)?.reputationScore).toBe(0.91);
});
