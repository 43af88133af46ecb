import { expect, test } from "vitest";
import { sql } from "#platform/postgres/sql.ts";
import { createProofFixture } from "../testing/proof-fixture.ts";
import { countRows, evidenceOf, refusalOf, replicasOf } from "../testing/proof-queries.ts";

// Challenges are an unlogged table: after a crash of PostgreSQL it is empty, while boards still have them and nodes answer.

test.each(["answers", "is silent", "was to repeat a miss"])(
  "when the server has lost a challenge, a node that %s is asked anew, and has missed nothing",
  async (what) => {
    await using fixture = await createProofFixture();
    const { pool } = fixture.chunks;
    await fixture.addNodes(3);
    const chunk = await fixture.store({ replicas: 1 });
    const [holder] = chunk.holders;
    if (holder === undefined) throw new Error("nobody holds the chunk");
    let asked = await fixture.untilAsked(holder);
    if (what === "was to repeat a miss") {
      await fixture.live(3 * 60_000, [holder]);
      expect(await countRows(pool, "proof_strikes")).toBe(1);
      asked = await fixture.untilAsked(holder);
    }
    await pool.query(sql.unsafe`delete from node_registry.proof_challenges`);
    if (what !== "is silent") {
      expect(await refusalOf(fixture.answer(holder, asked, chunk.bytes))).toBe("NotFound COMMAND_NOT_FOUND");
    } else {
      // The window of the lost one passes; that of the one in its place began later.
      await fixture.live(2 * 60_000, [holder]);
    }
    const again = await fixture.untilAsked(holder);
    expect(again.commandId).not.toBe(asked.commandId);
    // The first miss of before is remembered, and nothing has been added to it.
    expect(await countRows(pool, "proof_strikes")).toBe(what === "was to repeat a miss" ? 1 : 0);
    expect(await fixture.answer(holder, again, chunk.bytes)).toBe(true);
    expect(await countRows(pool, "proof_strikes")).toBe(0);
    expect(await replicasOf(pool, chunk.chunkHash)).toMatchObject([{ proof_count: 1, is_stored: true }]);
    expect(await evidenceOf(pool, holder.rowId)).toEqual([]);
  },
);
