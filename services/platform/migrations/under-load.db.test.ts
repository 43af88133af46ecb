import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { sql } from "../postgres/sql.ts";
import { longestLockWait } from "../testing/lock-waits.ts";
import { createTempFolder } from "../testing/temp-folder.ts";
import { createTestDatabase } from "../testing/test-database.ts";
import { migrate } from "./migrate.ts";

// Expand and contract on a table that is being written to, as db/README.md asks for.
const files = {
  "0001_table":
    "create table auth.beats (id bigint primary key, n bigint not null default 0); " +
    "insert into auth.beats select n from generate_series(1, 50000) as n; " +
    "grant select, insert, update on auth.beats to auth_app;",
  "0002_expand": "set local lock_timeout = '200ms'; alter table auth.beats add column region text not null default '';",
  "0003_index": "-- no-transaction\ncreate index concurrently if not exists beats__region on auth.beats (region);",
  "0004_constraint":
    "set local lock_timeout = '200ms'; alter table auth.beats add constraint beats__n check (n >= 0) not valid;",
  "0005_validate": "alter table auth.beats validate constraint beats__n;",
  "0006_contract": "set local lock_timeout = '200ms'; alter table auth.beats drop column region;",
};

// A second on a machine that has time; whoever holds a lock gives it up later on a busy one.
const LONGEST_WAIT_MS = 5_000;

test("columns, indexes and constraints come and go under writes, without an error or a long stall", async () => {
  await using folder = createTempFolder();
  await using db = await createTestDatabase({ isEmpty: true });
  mkdirSync(path.join(folder.path, "auth"));
  const apply = async (names: readonly (keyof typeof files)[]) => {
    for (const name of names) writeFileSync(path.join(folder.path, "auth", `${name}.sql`), files[name]);
    return migrate({ url: db.url(), schemas: ["auth"], folder: folder.path });
  };
  await apply(["0001_table"]);
  const pool = await db.pool("auth", { poolSize: 4, maxOverflow: 4 });
  const over = new AbortController();
  let writes = 0;
  const write = async (worker: number) => {
    while (!over.signal.aborted) {
      await pool.transaction(async (tx) => {
        await tx.query(sql.unsafe`update auth.beats set n = n + 1 where id = ${1 + ((writes * 4 + worker) % 50_000)}`);
        await tx.query(sql.unsafe`select n from auth.beats where id between 1 and 10`);
      });
      writes += 1;
    }
  };
  const watching = longestLockWait(db.url(), "auth_app", over.signal);
  const writing = Promise.all([0, 1, 2, 3].map(write));
  const applied = await apply(["0002_expand", "0003_index", "0004_constraint", "0005_validate", "0006_contract"]);
  over.abort();
  await writing;
  expect(applied).toHaveLength(5);
  expect(writes).toBeGreaterThan(20);
  expect(await watching).toBeLessThan(LONGEST_WAIT_MS);
});
