import { expect, test } from "vitest";
import { createProofFixture } from "../testing/proof-fixture.ts";
import { countRows } from "../testing/proof-queries.ts";
import { damagedChunk, nodesOf, repairOf } from "../testing/repair-fixture.ts";
import { endRepairs, sortOutRepairs } from "./end-repairs.worker.ts";
import { readRepairs } from "./repairs.store.ts";

test.each(["failed", "done"] as const)(
  "a planner that was deposed while it ended a repair (%s) ends no later one",
  async (how) => {
    await using fixture = await createProofFixture();
    const { pool, clock, deps, rooms } = fixture.chunks;
    const chunk = await damagedChunk(fixture, 3);
    const [node] = chunk.holders;
    if (node === undefined) throw new Error("three holders");
    const repair = repairOf(fixture.chunks);
    await repair.round();
    if (how === "failed") await clock.advance(11 * 60_000);
    else await node.client.reportStoredChunks({ chunkHashes: [chunk.chunkHash] });
    const late = sortOutRepairs(deps, await readRepairs(pool));
    expect(late[how]).toHaveLength(1);
    // Meanwhile its successor has ended it and, since nobody else is there, begun another one on the same node.
    await repair.round();
    if (how === "failed") await node.client.reportDeletedChunks({ chunkHashes: [chunk.chunkHash] });
    else await node.client.reportLostChunks({ chunkHashes: [chunk.chunkHash] });
    await clock.advance(5 * 60_000);
    await repair.round();
    const [begun, ...others] = repair.fetches(nodesOf(fixture));
    expect([begun?.nodeId, others]).toEqual([node.nodeId, []]);
    await endRepairs({ ...deps, placer: rooms.placer }, late);
    await repair.round();
    expect(repair.fetches(nodesOf(fixture)).map((fetch) => fetch.commandId)).toEqual([begun?.commandId]);
    await node.client.reportStoredChunks({ chunkHashes: [chunk.chunkHash] });
    await repair.round();
    expect(await countRows(pool, "under_replicated_chunks")).toBe(0);
  },
);
