import { expect, test } from "vitest";
import { createProofFixture } from "../testing/proof-fixture.ts";
import { countRows, evidenceOf } from "../testing/proof-queries.ts";

const MINUTE = 60_000;

test("a node that answers nothing is asked again within minutes, however much else it has to prove", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  const [node] = await fixture.addNodes(1);
  if (node === undefined) throw new Error("a node");
  for (let count = 0; count < 40; count += 1) await fixture.store({ replicas: 1, sizeBytes: 1_500 });
  await fixture.live(2.5 * MINUTE, [node]);
  expect(await countRows(pool, "proof_strikes")).toBe(4);
  await fixture.live(7 * MINUTE, [node]);
  expect(await evidenceOf(pool, node.rowId)).toContain("proof_timed_out");
});
