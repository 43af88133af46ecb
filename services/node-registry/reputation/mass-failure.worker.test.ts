import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { transact } from "#platform/outbox/outbox.ts";
import { changeState } from "../directory/change-state.worker.ts";
import { selectTransitions } from "../liveness/explanation.store.ts";
import { type ChunkFixture, createChunkFixture, newHash, type TestNode } from "../testing/chunk-fixture.ts";
import { eventsAbout } from "../testing/proof-queries.ts";
import { addEvidence } from "./evidence.store.ts";
import { reputationRules } from "./reputation-config.ts";
import { scorePending } from "./scorer.worker.ts";

const rules = reputationRules({ REPUTATION_FORMULA: "additive-1", REPUTATION_SILENCE_GRACE: 3_600_000 });

async function fail(fixture: ChunkFixture, nodes: readonly TestNode[], count: number): Promise<void> {
  const occurredAt = fixture.clock.now();
  await transact(fixture.deps, (tx) =>
    addEvidence(
      tx,
      nodes.map(({ rowId }) => ({
        nodeRowId: rowId,
        kind: "proof_invalid",
        count,
        occurredAt,
        chunkHash: newHash(),
      })),
    ),
  );
  await scorePending({ ...fixture.deps, rules });
}

function stateOf(fixture: ChunkFixture, node: TestNode) {
  return fixture.deps.view.node(node.nodeId)?.state;
}

test("when a large part of the nodes fails at once nobody is shut out, also by steps, and it is told", async () => {
  await using fixture = await createChunkFixture();
  const nodes = await fixture.addNodes(16);
  const failing = nodes.slice(0, 6);
  await fail(fixture, failing, 2);
  // One after the other: the first one already counts those that are on their way.
  for (const node of failing) await fail(fixture, [node], 2);
  for (const node of failing) {
    expect(fixture.deps.view.node(node.nodeId)).toMatchObject({
      state: "in_service",
      reputationScore: 0.2,
      isOnProbation: true,
    });
    expect(await eventsAbout(fixture.pool, node.nodeId)).toEqual(["NodeReputationChanged", "NodeReputationChanged"]);
    expect((await selectTransitions(fixture.pool, node.rowId))[0]).toMatchObject({
      previous_state: "in_service",
      state: "in_service",
      evidence:
        "not shut out, although reputation 0.2 by failed and invalid proofs is below 0.4: 6 of 16 nodes have failed within an hour",
    });
  }
  const withheld = fixture.deps.metrics.counter({ name: "disqualifications_withheld_total", help: "" });
  expect((await withheld.get()).values.map(({ value }) => value)).toEqual([6]);
});

test("failures that are spread over time, or few, are no mass failure, and what was withheld follows", async () => {
  await using fixture = await createChunkFixture();
  const nodes = await fixture.addNodes(16);
  const failing = nodes.slice(0, 6);
  await fail(fixture, failing, 4);
  expect(failing.map((node) => stateOf(fixture, node))).toEqual(failing.map(() => "in_service"));
  await fixture.clock.advance(3_600_001);
  for (const node of failing.slice(0, 4)) {
    await fail(fixture, [node], 1);
    expect(stateOf(fixture, node)).toBe("disqualified");
  }
  // Those that have just been shut out count as well.
  await fail(fixture, [...failing.slice(4), ...nodes.slice(6, 8)], 4);
  expect(failing.slice(4).map((node) => stateOf(fixture, node))).toEqual(["in_service", "in_service"]);
});

test("an admin shuts out nodes that the brake holds, and the rest follows when few are left", async () => {
  await using fixture = await createChunkFixture();
  const failing = (await fixture.addNodes(16)).slice(0, 6);
  // For days, so that nothing ends by itself.
  for (let day = 0; day < 3; day += 1) {
    await fail(fixture, failing, 4);
    expect(failing.map((node) => stateOf(fixture, node))).toEqual(failing.map(() => "in_service"));
    await fixture.clock.advance(24 * 3_600_000);
  }
  const order = {
    state: "disqualified",
    maintenanceUntil: null,
    reason: "keeps nothing",
    actor: randomUUID(),
  } as const;
  for (const node of failing.slice(0, 2)) await changeState(fixture.deps, node.nodeId, order);
  await fail(fixture, failing, 1);
  // Those that were shut out within the hour count as well; an hour later they do not.
  await fixture.clock.advance(3_600_001);
  await fail(fixture, failing.slice(2), 1);
  expect(failing.map((node) => stateOf(fixture, node))).toEqual(failing.map(() => "disqualified"));
});
