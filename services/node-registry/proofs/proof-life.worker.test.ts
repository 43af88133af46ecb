import fc from "fast-check";
import { expect, test } from "vitest";
import { z } from "zod";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql, zInt8 } from "#platform/postgres/sql.ts";
import { createProofFixture, type ProofFixture, type ProvingNode, type StoredChunk } from "../testing/proof-fixture.ts";

// Any order of questions, answers, silence, losses, releases and restarts, against the real SQL. Two nodes are honest and
// hold what they confirmed; the third has deleted a half and answers as it likes.

type Step =
  | { readonly kind: "live"; readonly beats: number }
  | { readonly kind: "makeDue" }
  | { readonly kind: "honestAnswers" }
  | { readonly kind: "liarAnswers"; readonly how: "right" | "wrong" | "word" | "late" | "reports" }
  | { readonly kind: "restart" }
  | { readonly kind: "race" }
  | { readonly kind: "release"; readonly which: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("live" as const), beats: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 3, arbitrary: fc.constant({ kind: "makeDue" } as const) },
  { weight: 4, arbitrary: fc.constant({ kind: "honestAnswers" } as const) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("liarAnswers" as const),
      how: fc.constantFrom("right" as const, "wrong" as const, "word" as const, "late" as const, "reports" as const),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "restart" } as const) },
  { weight: 1, arbitrary: fc.constant({ kind: "race" } as const) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("release" as const), which: fc.nat(3) }) },
);

interface World {
  fixture: ProofFixture;
  readonly chunks: Map<string, StoredChunk>;
  readonly honest: readonly ProvingNode[];
  readonly liar: ProvingNode;
  accepted: number;
}

test("whatever happens in whatever order, nobody is punished twice, wrongly, or not at all", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25, size: "max" }), async (steps) => {
      await using base = await createProofFixture({ config: { PROOF_NODE_BUDGET: 16 } });
      const [liar, ...honest] = await base.addNodes(3);
      if (liar === undefined) throw new Error("three nodes");
      const chunks = new Map<string, StoredChunk>();
      for (let count = 0; count < 4; count += 1) {
        const chunk = await base.store({ replicas: 3, sizeBytes: 1_100 + count });
        chunks.set(chunk.chunkHash, chunk);
      }
      const world: World = { fixture: base, chunks, honest, liar, accepted: 0 };
      for (const one of steps) await take(world, one);
      await expectTruth(world);
    }),
    { numRuns: 8, endOnFailure: true },
  );
}, 120_000);

async function take(world: World, one: Step): Promise<void> {
  const { fixture, honest, liar, chunks } = world;
  switch (one.kind) {
    case "live":
      // Honest nodes answer before they are out of time; a beat of theirs is never only a beat.
      for (let beat = 0; beat < one.beats; beat += 1) {
        await fixture.live(15_000, [liar]);
        await answerAll(world, honest);
      }
      return;
    case "makeDue":
      for (const chunkHash of chunks.keys()) await fixture.makeDue(chunkHash);
      fixture.beat(liar, ...honest);
      return await fixture.schedule();
    case "honestAnswers":
      return await answerAll(world, honest);
    case "liarAnswers":
      return await lie(world, one.how);
    case "restart":
      world.fixture = await fixture.anotherProcess();
      world.fixture.beat(liar, ...honest);
      return await world.fixture.schedule(true);
    case "race": {
      const other = await fixture.anotherProcess();
      for (const process of [fixture, other]) process.beat(liar, ...honest);
      await Promise.all([fixture.schedule(true), other.schedule(true)]);
      return;
    }
    case "release": {
      const chunk = [...chunks.values()][one.which];
      if (chunk !== undefined) await fixture.release(chunk);
    }
  }
}

async function answerAll(world: World, nodes: readonly ProvingNode[]): Promise<void> {
  const { fixture, chunks } = world;
  for (const node of nodes) {
    for (const command of fixture.beat(node)) {
      const bytes = chunks.get(command.prove.chunkHash)?.bytes ?? new Uint8Array();
      // Released meanwhile: the answer is refused, and nothing follows from it.
      const isAccepted = await fixture.answer(fixture.proverOf(node), command, bytes).catch(() => undefined);
      if (isAccepted === true) world.accepted += 1;
      else expect(isAccepted).toBeUndefined();
    }
  }
}

async function lie(world: World, how: "right" | "wrong" | "word" | "late" | "reports"): Promise<void> {
  const { fixture, chunks } = world;
  const liar = fixture.proverOf(world.liar);
  for (const command of fixture.beat(liar)) {
    const { chunkHash, nonce } = command.prove;
    const bytes = chunks.get(chunkHash)?.bytes ?? new Uint8Array();
    if (how === "right" && (await fixture.answer(liar, command, bytes).catch(() => false))) world.accepted += 1;
    if (how === "wrong")
      await fixture
        .answer(
          liar,
          command,
          bytes.map((byte) => byte ^ 1),
        )
        .catch(() => false);
    if (how === "word") {
      await liar.proofs.submitStorageProof({ commandId: command.commandId, chunkHash, nonce }).catch(() => false);
    }
    if (how === "reports") await liar.client.reportLostChunks({ chunkHashes: [chunkHash] });
  }
  if (how === "late") await fixture.live(3 * 60_000, [liar]);
}

const zCounts = z.strictObject({ proofs: zInt8, failures: zInt8, events: zInt8, wrong: zInt8, verdicts: zInt8 });

async function expectTruth({ fixture, honest, liar, accepted }: World): Promise<void> {
  const { pool } = fixture.chunks;
  // Whatever is still open comes to an end: asked again and answered, or found without its replica.
  await fixture.schedule(true);
  const counts = await readCounts(pool, liar, honest);
  // Failures are told one by one, each once, and only the liar's.
  expect(counts.failures).toBe(counts.events);
  expect(counts.wrong).toBe(0n);
  expect(counts.verdicts).toBe(BigInt(accepted));
  expect(counts.proofs).toBeLessThanOrEqual(BigInt(accepted));
  const lost = await pool.oneFirst(sql.type(z.strictObject({ lost: zInt8 }))`
    select count(*) as lost from node_registry.outbox where type like '%ChunkLost'`);
  // One loss per failure at most: a replica cannot be lost twice without being stored again.
  expect(counts.failures).toBeLessThanOrEqual(lost);
  expect(lost).toBeLessThanOrEqual(4n);
}

async function readCounts(pool: Pool, liar: ProvingNode, honest: readonly ProvingNode[]) {
  const others = honest.map((node) => node.rowId).join(",");
  return pool.one(sql.type(zCounts)`
    select
      (select coalesce(sum(proof_count), 0)::bigint from node_registry.chunk_storage) as proofs,
      (select count(*) from node_registry.reputation_evidence
        where node_id = ${liar.rowId} and kind <> 'proof_succeeded') as failures,
      (select count(*) from node_registry.outbox where type like '%NodeProofFailed') as events,
      (select count(*) from node_registry.reputation_evidence
        where node_id = any(string_to_array(${others}, ',')::bigint[]) and kind <> 'proof_succeeded') as wrong,
      (select count(*) from node_registry.proof_verdicts where outcome = 'proved') as verdicts`);
}
