import pg from "pg";
import { expect, test } from "vitest";
import { z } from "zod";
import { sql, zInt8 } from "#platform/postgres/sql.ts";
import { createProofFixture, type ProofFixture, type ProvingNode, type StoredChunk } from "../testing/proof-fixture.ts";
import { countRows, evidenceOf, replicasOf } from "../testing/proof-queries.ts";

const MINUTE = 60_000;

/** The only node and so many chunks that it holds. */
async function oneHolder(fixture: ProofFixture, count: number) {
  const [node] = await fixture.addNodes(1);
  if (node === undefined) throw new Error("a node");
  const chunks = [];
  for (let index = 0; index < count; index += 1) chunks.push(await fixture.store({ replicas: 1 }));
  fixture.beat(node);
  await fixture.schedule();
  return { node, chunks };
}

function askedFor(fixture: ProofFixture, node: ProvingNode, chunk: StoredChunk | undefined) {
  const command = fixture.beat(node).find(({ prove }) => prove.chunkHash === chunk?.chunkHash);
  const challenge = fixture.rooms.proofs.board.find(command?.commandId ?? "");
  if (command === undefined || challenge === undefined) throw new Error("the chunk is not asked for");
  return { command, challenge };
}

test("a challenge whose end cannot be recorded keeps no other one from its end", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  const { node, chunks } = await oneHolder(fixture, 2);
  const [broken, other] = chunks;
  await fixture.live(2.5 * MINUTE, [node]);
  expect(await countRows(pool, "proof_strikes")).toBe(2);
  await pool.query(sql.unsafe`
    update node_registry.chunks set live_replicas = 0, confirmed_replicas = 0
    where chunk_hash = decode(${broken?.chunkHash ?? null}, 'hex')`);
  await fixture.live(10 * MINUTE, [node]);
  expect(await evidenceOf(pool, node.rowId)).toEqual(["proof_timed_out"]);
  expect(await replicasOf(pool, other?.chunkHash ?? "")).toEqual([]);
});

test("proofs and losses of one batch take replicas before the holdings that a release waits for with a replica", async () => {
  await using fixture = await createProofFixture();
  const { pool, db } = fixture.chunks;
  const { node, chunks } = await oneHolder(fixture, 2);
  const [lost, proved] = chunks.map((chunk) => askedFor(fixture, node, chunk).challenge);
  if (lost === undefined || proved === undefined) throw new Error("two challenges");
  const release = new pg.Client({ connectionString: db.url() });
  await release.connect();
  await release.query("begin");
  await release.query("select from node_registry.chunk_storage where chunk_hash = decode($1, 'hex') for update", [
    proved.chunkHash,
  ]);
  const settled = fixture.rooms.proofs.settle([
    { ...lost, verdict: { challenge: lost, outcome: { kind: "not_held" } } },
    { ...proved, verdict: { challenge: proved, outcome: { kind: "proved" } } },
  ]);
  const zWaiting = z.strictObject({ waiting: zInt8 });
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
  const holdings = release.query("select from node_registry.node_holdings where node_id = $1 for update nowait", [
    String(node.rowId),
  ]);
  await expect(holdings).resolves.toMatchObject({ rowCount: 1 });
  await release.query("rollback");
  await release.end();
  expect(await settled).toEqual(["not_held", "proved"]);
});

test("a miss from before a replica was stored anew does not make the first one after it count", async () => {
  await using fixture = await createProofFixture();
  const { pool, clock } = fixture.chunks;
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 3 });
  const [holder] = chunk.holders;
  if (holder === undefined) throw new Error("three holders");
  await fixture.untilAsked(holder);
  await fixture.live(2.5 * MINUTE, [holder]);
  expect(await countRows(pool, "proof_strikes")).toBe(1);
  // Gone with its node, and back with it.
  await pool.query(sql.unsafe`
    update node_registry.chunk_storage set stored_at = null, lost_at = now() where node_id = ${holder.rowId}`);
  await clock.advance(60 * MINUTE);
  await pool.query(sql.unsafe`
    update node_registry.chunk_storage set stored_at = ${clock.now().toString()}::timestamptz, lost_at = null
    where node_id = ${holder.rowId}`);
  await fixture.makeDue(chunk.chunkHash);
  await fixture.untilAsked(holder);
  await fixture.live(2.5 * MINUTE, [holder]);
  expect(await evidenceOf(pool, holder.rowId)).toEqual([]);
  expect((await replicasOf(pool, chunk.chunkHash)).filter((replica) => replica.is_stored)).toHaveLength(3);
});

test("a command_id in capitals is the same one", async () => {
  await using fixture = await createProofFixture();
  const { node, chunks } = await oneHolder(fixture, 1);
  const [chunk] = chunks;
  const { command } = askedFor(fixture, node, chunk);
  const shouting = { ...command, commandId: command.commandId.toUpperCase() };
  const bytes = chunk?.bytes ?? new Uint8Array();
  expect(await Promise.all([shouting, command].map((one) => fixture.answer(node, one, bytes)))).toEqual([true, true]);
  expect(await fixture.answer(node, shouting, bytes)).toBe(true);
  expect(fixture.beat(node)).toEqual([]);
});

test("what a process asks of a node that has moved to another one reaches it there", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(1);
  const chunk = await fixture.store({ replicas: 1 });
  const [node] = chunk.holders;
  if (node === undefined) throw new Error("nobody holds the chunk");
  await pool.query(sql.unsafe`update node_registry.chunk_storage set next_proof_at = now() + interval '1 year'`);
  const next = await fixture.anotherProcess();
  for (const process of [fixture, next]) {
    process.beat(node);
    await process.schedule();
  }
  // The first one has not noticed yet that the node does not come any more.
  await fixture.chunks.clock.advance(2 * MINUTE);
  await fixture.makeDue(chunk.chunkHash);
  await fixture.schedule();
  expect(await countRows(pool, "proof_challenges")).toBe(1);
  let [asked] = next.beat(node);
  for (let minute = 0; asked === undefined && minute < 15; minute += 1) {
    await next.live(MINUTE, [node]);
    await next.schedule(true);
    [asked] = next.beat(node);
  }
  if (asked === undefined) throw new Error("the node is never asked");
  expect(await next.answer(next.proverOf(node), asked, chunk.bytes)).toBe(true);
});
