import { expect, test } from "vitest";
import { createProofFixture, type ProofFixture } from "../testing/proof-fixture.ts";
import { countRows, refusalOf } from "../testing/proof-queries.ts";
import { TICK_MS } from "./scheduler.worker.ts";

// Nodes that are asked and then are away, from this process or from all.

const MINUTE = 60_000;

async function askedHolder(fixture: ProofFixture) {
  const chunk = await fixture.store({ replicas: 1 });
  const [holder] = chunk.holders;
  if (holder === undefined) throw new Error("nobody holds the chunk");
  return { chunk, holder, command: await fixture.untilAsked(holder) };
}

test("a node that goes away before each deadline misses it all the same, and has its whole window here", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(3);
  const { chunk, holder, command } = await askedHolder(fixture);
  await fixture.live(1.5 * MINUTE, [holder]);
  for (let away = 0; away < 2; away += 1) {
    // Longer than its lease, so that this process would forget it.
    await fixture.live(1.5 * MINUTE, []);
    await fixture.schedule(true);
    expect(await countRows(pool, "proof_strikes")).toBe(away);
    await fixture.live(0.5 * MINUTE, [holder]);
  }
  expect(await countRows(pool, "proof_strikes")).toBe(1);
  expect(await refusalOf(fixture.answer(holder, command, chunk.bytes))).toBe("FailedPrecondition COMMAND_EXPIRED");
});

test("a node that moves between processes before each deadline misses it all the same", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(3);
  const { holder } = await askedHolder(fixture);
  const other = await fixture.anotherProcess();
  const processes = [fixture, other];
  for (let stay = 0; stay < 4 && (await countRows(pool, "proof_strikes")) === 0; stay += 1) {
    for (let beat = 0; beat < 6; beat += 1) {
      processes[stay % 2]?.beat(holder);
      for (let tick = 0; tick < 15_000; tick += TICK_MS) {
        await fixture.chunks.clock.advance(TICK_MS);
        for (const process of processes) process.rooms.proofs.reception.tick();
      }
      for (const process of processes) await process.schedule(true);
    }
  }
  expect(await countRows(pool, "proof_strikes")).toBe(1);
});

test("what was settled elsewhere while a node was away is not asked for again, and what was asked there is", async () => {
  await using fixture = await createProofFixture();
  await fixture.addNodes(3);
  const { chunk, holder, command } = await askedHolder(fixture);
  await fixture.live(1.5 * MINUTE, []);
  await fixture.schedule(true);
  const other = await fixture.anotherProcess();
  expect(await other.answer(other.proverOf(holder), command, chunk.bytes)).toBe(true);
  await fixture.makeDue(chunk.chunkHash);
  const next = await other.untilAsked(other.proverOf(holder));
  expect(next.commandId).not.toBe(command.commandId);
  fixture.beat(holder);
  await fixture.schedule();
  expect(fixture.beat(holder).map(({ commandId }) => commandId)).toEqual([next.commandId]);
});
