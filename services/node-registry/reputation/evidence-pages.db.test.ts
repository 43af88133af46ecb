import { expect, test } from "vitest";
import { transact } from "#platform/outbox/outbox.ts";
import { type ChunkFixture, createChunkFixture } from "../testing/chunk-fixture.ts";
import {
  addEvidence,
  evidenceAfter,
  type LoggedEvidence,
  type NewEvidence,
  readLatestEvidence,
} from "./evidence.store.ts";

/** Three nodes with logs of different lengths, mixed up in time. */
async function logs(fixture: ChunkFixture) {
  const nodes = await fixture.addNodes(3);
  for (let round = 0; round < 12; round += 1) {
    const entries = nodes.flatMap(({ rowId }, index): NewEvidence[] =>
      round % (index + 1) === 0
        ? [{ nodeRowId: rowId, kind: "proof_failed", count: round + 1, occurredAt: fixture.clock.now() }]
        : [],
    );
    await transact(fixture.deps, (tx) => addEvidence(tx, entries));
  }
  return nodes;
}

test.each([1, 2, 5, 6, 22, 100])(
  "pages of %d entries are the logs, each in its order, and none is longer",
  async (size) => {
    await using fixture = await createChunkFixture();
    const nodes = await logs(fixture);
    const [first, ...rest] = nodes;
    if (first === undefined) throw new Error("three nodes");
    const whole = await Promise.all(nodes.map(({ rowId }) => readLatestEvidence(fixture.pool, rowId, 100)));
    expect(whole.map((log) => log.length)).toEqual([12, 6, 4]);
    const after = whole[0]?.[4]?.id ?? 0n;
    const positions = new Map([...rest.map(({ rowId }) => [rowId, 0n] as const), [first.rowId, after] as const]);
    const read: LoggedEvidence[] = [];
    for await (const page of evidenceAfter(fixture.pool, positions, size)) {
      expect(page.length).toBeLessThanOrEqual(size);
      read.push(...page);
    }
    expect(read).toEqual(whole.flat().filter(({ nodeRowId, id }) => nodeRowId !== first.rowId || id > after));
  },
);
