import { fromBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { z } from "zod";
import { NodeDisqualifiedSchema, NodeReputationChangedSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql, zBytes, zInt8 } from "#platform/postgres/sql.ts";
import { findNodeRecord } from "../directory/nodes.store.ts";
import { type ChunkFixture, createChunkFixture, newHash, type TestNode } from "../testing/chunk-fixture.ts";
import { addEvidence, addSuccesses, type NewEvidence, readLatestEvidence } from "./evidence.store.ts";
import { beta1, type EvidenceKind, type FormulaName, replay } from "./formula.ts";
import { reputationRules } from "./reputation-config.ts";
import { scorePending } from "./scorer.worker.ts";
import { findStanding, markOtherFormulas } from "./standings.store.ts";

function rulesOf(formula: FormulaName = "additive-1") {
  return reputationRules({ REPUTATION_FORMULA: formula, REPUTATION_SILENCE_GRACE: 3_600_000 });
}

function scorer(fixture: ChunkFixture, formula: FormulaName = "additive-1") {
  return { ...fixture.deps, rules: rulesOf(formula) };
}

function entry(fixture: ChunkFixture, node: TestNode, kind: EvidenceKind, count = 1): NewEvidence {
  return { nodeRowId: node.rowId, kind, count, occurredAt: fixture.clock.now(), chunkHash: newHash() };
}

async function record(fixture: ChunkFixture, ...entries: NewEvidence[]): Promise<void> {
  await transact(fixture.deps, (tx) => addEvidence(tx, entries));
}

const zEvent = z.strictObject({ type: z.string(), key_version: zInt8, payload: zBytes });

async function eventsOf(pool: Pool, nodeId: string) {
  const rows = await pool.any(sql.type(zEvent)`
    select type, key_version, payload from node_registry.outbox where key = ${nodeId} order by id`);
  return rows.map((row) => ({ ...row, name: row.type.split(".").at(-1) }));
}

test("many entries of a node become one change, one event and one directory revision", async () => {
  await using fixture = await createChunkFixture();
  const [node, other] = await fixture.addNodes(2);
  if (node === undefined || other === undefined) throw new Error("two nodes");
  await record(
    fixture,
    entry(fixture, node, "proof_failed", 2),
    entry(fixture, node, "proof_timed_out"),
    entry(fixture, node, "proof_succeeded", 3),
    entry(fixture, other, "loss_reported"),
  );
  expect(await scorePending(scorer(fixture))).toBe(2);
  expect(await scorePending(scorer(fixture))).toBe(0);
  const scored = await findNodeRecord(fixture.pool, node.nodeId);
  expect(scored).toMatchObject({ reputationScore: 0.78, isOnProbation: false, state: "in_service" });
  expect(fixture.deps.view.node(node.nodeId)?.reputationScore).toBe(0.78);
  const events = await eventsOf(fixture.pool, node.nodeId);
  expect(events.map(({ name, key_version }) => [name, key_version])).toEqual([["NodeReputationChanged", 1n]]);
  expect(fromBinary(NodeReputationChangedSchema, events[0]?.payload ?? Buffer.alloc(0))).toMatchObject({
    previousScore: 1,
    reputationScore: 0.78,
    isOnProbation: false,
    reason: "2 not held, 1 timed out, 3 proved",
  });
  expect(await eventsOf(fixture.pool, other.nodeId)).toEqual([]);
});

test("a node is put on probation, shut out with the reason, and its events follow one another", async () => {
  await using fixture = await createChunkFixture();
  const node = await fixture.addNode();
  await record(fixture, entry(fixture, node, "proof_invalid", 2));
  await scorePending(scorer(fixture));
  expect(fixture.deps.view.node(node.nodeId)).toMatchObject({ isOnProbation: true, state: "in_service" });
  await record(fixture, entry(fixture, node, "proof_failed", 3));
  await scorePending(scorer(fixture));
  expect(await findNodeRecord(fixture.pool, node.nodeId)).toMatchObject({
    state: "disqualified",
    isActive: false,
    reputationScore: 0.3,
  });
  const events = await eventsOf(fixture.pool, node.nodeId);
  expect(events.map(({ name, key_version }) => [name, key_version])).toEqual([
    ["NodeReputationChanged", 1n],
    ["NodeReputationChanged", 2n],
    ["NodeStateChanged", 3n],
    ["NodeDisqualified", 4n],
  ]);
  expect(fromBinary(NodeDisqualifiedSchema, events[3]?.payload ?? Buffer.alloc(0))).toMatchObject({
    nodeId: node.nodeId,
    reputationScore: 0.3,
    reason: "reputation 0.3 by failed and invalid proofs is below 0.4",
  });
  // Once is enough.
  await record(fixture, entry(fixture, node, "proof_failed"));
  await scorePending(scorer(fixture));
  expect((await eventsOf(fixture.pool, node.nodeId)).filter(({ name }) => name === "NodeDisqualified")).toHaveLength(1);
});

test("timeouts alone shut a node out only after the grace period, and a success never does", async () => {
  await using fixture = await createChunkFixture();
  const node = await fixture.addNode();
  await record(fixture, entry(fixture, node, "proof_timed_out", 18));
  await scorePending(scorer(fixture));
  expect(fixture.deps.view.node(node.nodeId)).toMatchObject({ state: "in_service", isOnProbation: true });
  await fixture.clock.advance(3_600_000);
  await transact(fixture.deps, (tx) => addSuccesses(tx, new Map([[node.rowId, 1]]), fixture.clock.now()));
  await scorePending(scorer(fixture));
  expect(fixture.deps.view.node(node.nodeId)?.state).toBe("in_service");
  await record(fixture, entry(fixture, node, "proof_timed_out"));
  await scorePending(scorer(fixture));
  expect(fixture.deps.view.node(node.nodeId)?.state).toBe("disqualified");
});

test("successes at full score are counted, and become one entry in front of the next failure", async () => {
  await using fixture = await createChunkFixture();
  const node = await fixture.addNode();
  for (let batch = 0; batch < 5; batch += 1) {
    await transact(fixture.deps, (tx) => addSuccesses(tx, new Map([[node.rowId, 10]]), fixture.clock.now()));
  }
  expect(await scorePending(scorer(fixture))).toBe(0);
  expect(await readLatestEvidence(fixture.pool, node.rowId, 10)).toEqual([]);
  await record(fixture, entry(fixture, node, "proof_failed"));
  const log = await readLatestEvidence(fixture.pool, node.rowId, 10);
  expect(log.map(({ kind, count }) => [kind, count])).toEqual([
    ["proof_succeeded", 50],
    ["proof_failed", 1],
  ]);
  expect(await findStanding(fixture.pool, node.rowId)).toMatchObject({ unloggedSuccesses: 0 });
  await scorePending(scorer(fixture));
  await transact(fixture.deps, (tx) => addSuccesses(tx, new Map([[node.rowId, 4]]), fixture.clock.now()));
  await scorePending(scorer(fixture));
  expect(fixture.deps.view.node(node.nodeId)?.reputationScore).toBe(0.94);
});

test("another formula computes every score anew from the log", async () => {
  await using fixture = await createChunkFixture();
  const node = await fixture.addNode();
  await record(fixture, entry(fixture, node, "proof_succeeded", 20), entry(fixture, node, "proof_failed", 5));
  await scorePending(scorer(fixture));
  expect(fixture.deps.view.node(node.nodeId)?.reputationScore).toBe(0.5);
  expect(await markOtherFormulas(fixture.pool, "beta-1")).toBe(1);
  await scorePending(scorer(fixture, "beta-1"));
  const log = await readLatestEvidence(fixture.pool, node.rowId, 100);
  const expected = replay(beta1, log).score;
  expect(expected).toBeGreaterThan(0.99);
  expect(fixture.deps.view.node(node.nodeId)).toMatchObject({ reputationScore: expected, isOnProbation: false });
  expect(await findStanding(fixture.pool, node.rowId)).toMatchObject({ formula: "beta-1" });
  expect(await markOtherFormulas(fixture.pool, "beta-1")).toBe(0);
});

test("another formula puts nodes on probation for what is long past, and shuts them out only for the next failure", async () => {
  await using fixture = await createChunkFixture();
  const node = await fixture.addNode();
  const stateOf = () => fixture.deps.view.node(node.nodeId);
  await record(fixture, entry(fixture, node, "proof_failed", 7));
  await scorePending(scorer(fixture, "beta-1"));
  expect(stateOf()).toMatchObject({ state: "in_service", isOnProbation: false });
  expect(await markOtherFormulas(fixture.pool, "additive-1")).toBe(1);
  await scorePending(scorer(fixture));
  expect(stateOf()).toMatchObject({ state: "in_service", isOnProbation: true, reputationScore: 0.3 });
  await record(fixture, entry(fixture, node, "proof_failed"));
  await scorePending(scorer(fixture));
  expect(stateOf()).toMatchObject({ state: "disqualified", reputationScore: 0.2 });
});

test("another formula tells of no reset that was told before", async () => {
  await using fixture = await createChunkFixture();
  const node = await fixture.addNode();
  await record(fixture, entry(fixture, node, "proof_failed"), entry(fixture, node, "reset"));
  await scorePending(scorer(fixture));
  expect(await eventsOf(fixture.pool, node.nodeId)).toHaveLength(1);
  expect(await markOtherFormulas(fixture.pool, "beta-1")).toBe(1);
  expect(await scorePending(scorer(fixture, "beta-1"))).toBe(1);
  expect(await eventsOf(fixture.pool, node.nodeId)).toHaveLength(1);
});

test("several processes score and record at the same time, and nothing is counted twice or lost", async () => {
  await using fixture = await createChunkFixture();
  const nodes = await fixture.addNodes(20);
  const deps = scorer(fixture);
  let isDone = false;
  const scorers = Array.from({ length: 3 }, async () => {
    while (!isDone) await scorePending(deps);
  });
  const writers = Array.from({ length: 4 }, async (_, writer) => {
    for (let round = 0; round < 10; round += 1) {
      const chosen = nodes.filter((_, index) => (index + round + writer) % 2 === 0);
      const kind = writer === 0 ? "proof_failed" : "proof_succeeded";
      await record(fixture, ...chosen.map((node) => entry(fixture, node, kind)));
    }
  });
  await Promise.all(writers);
  isDone = true;
  await Promise.all(scorers);
  await scorePending(deps);
  for (const node of nodes) {
    const log = await readLatestEvidence(fixture.pool, node.rowId, 1_000);
    expect(log).toHaveLength(20);
    const expected = replay(deps.rules.formula, log);
    expect(await findStanding(fixture.pool, node.rowId)).toMatchObject({ standing: expected });
    expect((await findNodeRecord(fixture.pool, node.nodeId))?.reputationScore).toBe(expected.score);
  }
});
