import pg from "pg";
import { expect, test } from "vitest";
import { z } from "zod";
import { ManualClock } from "../testing/manual-clock.ts";
import { createTestDatabase, createTestLogger, type TestDatabase } from "../testing/test-database.ts";
import { maintainPartitions, startMaintenance } from "./maintenance.worker.ts";
import { sql } from "./sql.ts";

async function asOwner<T>(db: TestDatabase, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: db.url("auth_owner") });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

function partitionsOf(db: TestDatabase, table: string): Promise<readonly string[]> {
  return asOwner(db, async (client) => {
    const { rows } = await client.query<{ name: string }>(
      "select inhrelid::regclass::text as name from pg_inherits where inhparent = $1::regclass order by 1",
      [`auth.${table}`],
    );
    return rows.map(({ name }) => name);
  });
}

/** A partition of `daysAgo` with one row, made as the owner as if time had passed. */
function seedOldDay(db: TestDatabase, table: "outbox" | "inbox", daysAgo: number, publishedDaysAgo?: number) {
  return asOwner(db, async (client) => {
    const at = `(now() - interval '${daysAgo} days')`;
    await client.query(
      `select auth.create_partition(t, (${at} at time zone 'UTC')::date) from auth.partitioned_tables as t
       where table_name = $1`,
      [table],
    );
    const published = publishedDaysAgo === undefined ? "null" : `now() - interval '${publishedDaysAgo} days'`;
    await client.query(
      table === "outbox"
        ? `insert into auth.outbox (event_id, subject, key, key_version, type, payload, created_at, published_at)
           values (gen_random_uuid(), 's', 'k', 1, 't', '', ${at}, ${published})`
        : `insert into auth.inbox (consumer, event_id, event_time, applied_at) values ('c', gen_random_uuid(), ${at}, ${at})`,
    );
  });
}

/** As if nothing had made partitions of the outbox for days. */
function dropDays(db: TestDatabase) {
  return asOwner(db, (client) =>
    client.query(`
    do $$ declare name text; begin
      for name in select inhrelid::regclass from pg_inherits where inhparent = 'auth.outbox'::regclass
        and inhrelid::regclass::text ~ '_p[0-9]{8}$' loop execute 'drop table ' || name; end loop;
    end $$`),
  );
}

test("today and the next three days have partitions, the inbox also the past days that a replay may bring", async () => {
  await using db = await createTestDatabase();
  expect(await partitionsOf(db, "outbox")).toHaveLength(1 + 4);
  expect(await partitionsOf(db, "inbox")).toHaveLength(1 + 8 + 4);
});

test("published outbox days are dropped after a week, never one with an unpublished or freshly published row", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  await seedOldDay(db, "outbox", 12, 12);
  await seedOldDay(db, "outbox", 20, undefined);
  await seedOldDay(db, "outbox", 30, 2);
  const before = await partitionsOf(db, "outbox");
  const rounds = await maintainPartitions(pool, "auth");
  expect(rounds.find(({ table_name }) => table_name === "outbox")).toMatchObject({ dropped: 1, busy: 0, created: 0 });
  expect(await partitionsOf(db, "outbox")).toHaveLength(before.length - 1);
  const left = await pool.anyFirst(sql.type(z.strictObject({ n: z.bigint() }))`select count(*) as n from auth.outbox`);
  expect(left).toEqual([2n]);
});

test("inbox days are dropped after thirty days", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  await seedOldDay(db, "inbox", 29);
  await seedOldDay(db, "inbox", 33);
  const rounds = await maintainPartitions(pool, "auth");
  expect(rounds.find(({ table_name }) => table_name === "inbox")).toMatchObject({ dropped: 1 });
});

test("what was applied within thirty days is remembered, however old the event is", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  await seedOldDay(db, "inbox", 33);
  const inboxNow = async () =>
    pool.anyFirst(sql.type(z.strictObject({ n: z.bigint() }))`
      select count(*) as n from auth.inbox where applied_at > now() - interval '1 day'`);
  // A day that has a partition, and one that has none.
  await pool.query(sql.unsafe`
    insert into auth.inbox (consumer, event_id, event_time)
    values ('c', gen_random_uuid(), now() - interval '33 days'), ('c', gen_random_uuid(), now() - interval '50 days')`);
  const rounds = await maintainPartitions(pool, "auth");
  expect(rounds.find(({ table_name }) => table_name === "inbox")).toMatchObject({ dropped: 0 });
  expect(await inboxNow()).toEqual([2n]);
  await asOwner(db, (client) => client.query("update auth.inbox set applied_at = now() - interval '31 days'"));
  const later = await maintainPartitions(pool, "auth");
  expect(later.find(({ table_name }) => table_name === "inbox")).toMatchObject({ dropped: 1, default_rows: 0n });
});

test("rows in the default partition are reported, and moved when their day gets a partition", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  await dropDays(db);
  const insert = (at: string) =>
    pool.query(sql.unsafe`
    insert into auth.outbox (event_id, subject, key, key_version, type, payload, created_at)
    values (gen_random_uuid(), 's', 'k', 1, 't', '', now() + ${at}::interval)`);
  await insert("0 days");
  await insert("100 days");
  const outbox = (await maintainPartitions(pool, "auth")).find(({ table_name }) => table_name === "outbox");
  expect(outbox).toEqual({ table_name: "outbox", created: 4, dropped: 0, busy: 0, default_rows: 1n });
});

test("a day gets its partition although rows keep coming for it", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  await dropDays(db);
  const insert = `insert into auth.outbox (event_id, subject, key, key_version, type, payload)
    values (gen_random_uuid(), 's', 'k', 1, 't', '')`;
  await asOwner(db, (writer) =>
    asOwner(db, async (observer) => {
      // Not there yet for whoever moves the rows, and there when the partition is to be attached.
      await writer.query(`begin; ${insert}`);
      const waits = `select from pg_locks where not granted and relation = 'auth.outbox_default'::regclass`;
      const isOver = { value: false };
      const commit = async () => {
        while (!isOver.value && (await observer.query(waits)).rowCount === 0);
        await writer.query("commit");
      };
      const maintained = maintainPartitions(pool, "auth").finally(() => (isOver.value = true));
      await Promise.all([maintained, commit()]);
    }),
  );
  await maintainPartitions(pool, "auth");
  const outbox = (await maintainPartitions(pool, "auth")).find(({ table_name }) => table_name === "outbox");
  expect(outbox).toMatchObject({ created: 0, busy: 0, default_rows: 0n });
  expect(await partitionsOf(db, "outbox")).toHaveLength(1 + 4);
  const left = await pool.anyFirst(sql.type(z.strictObject({ n: z.bigint() }))`select count(*) as n from auth.outbox`);
  expect(left).toEqual([1n]);
});

test("no table is locked against everybody while partitions are read", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  await seedOldDay(db, "inbox", 40);
  await seedOldDay(db, "outbox", 12, 12);
  const [, ahead] = (await partitionsOf(db, "inbox")).toReversed();
  await asOwner(db, (client) =>
    client.query(`
    drop table ${ahead};
    alter function auth.is_partition_over(auth.partitioned_tables, text, date) rename to is_partition_over_unwatched;
    create function auth.is_partition_over(target auth.partitioned_tables, partition text, day date) returns boolean
    language plpgsql as $$
    begin
      if exists (
        select from pg_locks join pg_class on pg_class.oid = relation
        where pid = pg_backend_pid() and granted and mode = 'AccessExclusiveLock'
          and relname in ('outbox', 'outbox_default', 'inbox', 'inbox_default')
      ) then raise exception 'the others wait'; end if;
      return auth.is_partition_over_unwatched(target, partition, day);
    end $$`),
  );
  const rounds = await maintainPartitions(pool, "auth");
  expect(rounds.find(({ table_name }) => table_name === "inbox")).toMatchObject({ created: 1, dropped: 1, busy: 0 });
  expect(rounds.find(({ table_name }) => table_name === "outbox")).toMatchObject({ dropped: 1, busy: 0 });
});

test("a table in use is left alone without a wait, and several processes do not get in each other's way", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  await seedOldDay(db, "outbox", 12, 12);
  await asOwner(db, async (reader) => {
    await reader.query("begin");
    await reader.query("select count(*) from auth.outbox");
    const rounds = await Promise.all(Array.from({ length: 4 }, () => maintainPartitions(pool, "auth")));
    expect(rounds.flat().filter(({ busy }) => busy > 0)).not.toEqual([]);
    expect(rounds.flat().filter(({ dropped }) => dropped > 0)).toEqual([]);
    await reader.query("rollback");
  });
  const outbox = (await maintainPartitions(pool, "auth")).find(({ table_name }) => table_name === "outbox");
  expect(outbox).toMatchObject({ dropped: 1, busy: 0 });
});

test("a partition that an operator has locked is looked at again, and keeps the others from nothing", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  await seedOldDay(db, "outbox", 12, 12);
  await seedOldDay(db, "inbox", 40);
  const [, locked] = await partitionsOf(db, "outbox");
  const results = async () =>
    Object.fromEntries((await maintainPartitions(pool, "auth")).map((table) => [table.table_name, table]));
  await asOwner(db, async (operator) => {
    await operator.query(`begin; lock table ${locked} in access exclusive mode`);
    expect(await results()).toMatchObject({ outbox: { dropped: 0, busy: 1 }, inbox: { dropped: 1, busy: 0 } });
    await operator.query("rollback");
  });
  expect(await results()).toMatchObject({ outbox: { dropped: 1, busy: 0 } });
});

test("the worker runs at the start and hourly, and stops when it is disposed of", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  const clock = new ManualClock();
  const options = { pool, schema: "auth" as const, clock, log: createTestLogger() };
  await using worker = startMaintenance(options);
  await clock.untilSleeping();
  await seedOldDay(db, "inbox", 40);
  const before = await partitionsOf(db, "inbox");
  await clock.advance(2 * 3_600_000);
  await clock.untilSleeping();
  expect(await partitionsOf(db, "inbox")).toHaveLength(before.length - 1);
  await worker[Symbol.asyncDispose]();
  expect(clock.sleeping()).toBe(0);
});

test("the audit trail lies by month, made ahead, and a month goes only where the operator says so", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  const dated = async () => (await partitionsOf(db, "audit_events")).filter((name) => /_p\d{6}01$/.test(name));
  const [first = "", ...ahead] = await dated();
  expect(ahead.length).toBeGreaterThanOrEqual(1);
  await asOwner(db, async (client) => {
    // What was there before the months began lies in the first partition, which reaches back without end.
    await client.query(`alter table auth.audit_events detach partition ${first}`);
    await client.query(
      `select auth.create_partition(t, '2020-01-01') from auth.partitioned_tables as t where table_name = 'audit_events'`,
    );
    await client.query(
      `insert into auth.audit_events (occurred_at, audit_event_id, type, result)
       values ('2020-01-31 23:59:59Z', gen_random_uuid(), 'LOGIN', 'SUCCEEDED')`,
    );
  });
  const old = "auth.audit_events_p20200101";
  await maintainPartitions(pool, "auth");
  expect(await dated()).toContain(old);
  await asOwner(db, (client) =>
    client.query("update auth.partitioned_tables set keep_days = 365 where table_name = 'audit_events'"),
  );
  const maintained = await maintainPartitions(pool, "auth");
  expect(maintained.find(({ table_name }) => table_name === "audit_events")).toMatchObject({ dropped: 1, busy: 0 });
  expect(await dated()).toEqual(ahead);
});
