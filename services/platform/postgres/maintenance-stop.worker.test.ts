import { expect, test } from "vitest";
import { eventually, querySuperuser } from "../testing/event-kit.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { createTestDatabase, createTestLogger } from "../testing/test-database.ts";
import { startMaintenance } from "./maintenance.worker.ts";

test("a stop does not wait for a partition that takes long to read", async () => {
  await using db = await createTestDatabase();
  await querySuperuser(
    db,
    `create or replace function auth.is_partition_over(target auth.partitioned_tables, partition text, day date)
     returns boolean language sql as 'select pg_sleep(120) is null'`,
  );
  const reading = () =>
    querySuperuser(
      db,
      "select pid from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'",
    );
  const pool = await db.pool("auth");
  const worker = startMaintenance({ pool, schema: "auth", clock: new ManualClock(), log: createTestLogger() });
  await eventually(async () => (await reading()).length > 0, "a partition is read");
  await worker[Symbol.asyncDispose]();
  expect(await reading()).toEqual([]);
}, 90_000);
