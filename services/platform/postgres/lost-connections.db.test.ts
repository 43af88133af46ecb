import pg from "pg";
import { expect, test } from "vitest";
import { z } from "zod";
import { startEmbeddedPostgres } from "../../dev/embedded-postgres.ts";
import { startTcpProxy } from "../testing/tcp-proxy.ts";
import { createTempFolder } from "../testing/temp-folder.ts";
import { createTestDatabase, createTestLogger, type TestDatabase } from "../testing/test-database.ts";
import { isDatabaseDown } from "./errors.ts";
import { openPool, type Pool } from "./pool.ts";
import { sql } from "./sql.ts";

const count = sql.type(z.strictObject({ n: z.bigint() }));

/** An operator who ends the sessions of the pool. */
async function createKiller(db: TestDatabase): Promise<AsyncDisposable & { kill(): Promise<void> }> {
  const client = new pg.Client({ connectionString: db.url() });
  await client.connect();
  return {
    kill: async () => {
      await client.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and usename = 'auth_app'",
        [db.name],
      );
    },
    [Symbol.asyncDispose]: () => client.end(),
  };
}

function insertLease(connection: Pick<Pool, "query">, name: string) {
  return connection.query(sql.unsafe`insert into auth.leases values (${name}, gen_random_uuid(), 1, now())`);
}

test("killed idle backends are replaced before the next callers notice", async () => {
  await using db = await createTestDatabase();
  await using killer = await createKiller(db);
  const pool = await db.pool("auth", { poolSize: 5, maxOverflow: 0 });
  for (let round = 0; round < 20; round += 1) {
    await killer.kill();
    const calls = Array.from({ length: 10 }, (_, n) =>
      n % 2 === 0
        ? insertLease(pool, `${round}/${n}`)
        : pool.transaction(async (tx) => void (await insertLease(tx, `${round}/${n}`))),
    );
    await Promise.all(calls);
  }
  expect(await pool.oneFirst(count`select count(*) as n from auth.leases`)).toBe(200n);
});

test("transactions and statements survive killed backends and take effect once", async () => {
  await using db = await createTestDatabase();
  await using killer = await createKiller(db);
  const pool = await db.pool("auth", { poolSize: 4, maxOverflow: 0 });
  let isOver = false;
  let ended = 0;
  const killing = (async () => {
    while (!isOver) {
      await killer.kill();
      // Between two kills something succeeds, however busy the machine is.
      const enough = ended + 20;
      while (!isOver && ended < enough) await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  let unknown = 0;
  const work = async (worker: number) => {
    for (let n = 0; n < 60; n += 1) {
      try {
        if (n % 3 === 0) await insertLease(pool, `${worker}/${n}`);
        else
          await pool.transaction(async (tx) => {
            await insertLease(tx, `${worker}/${n}`);
            await tx.query(sql.unsafe`select pg_sleep(0.002)`);
          });
      } catch (error) {
        // A connection that dies with the COMMIT leaves its outcome open: the only error that may surface. A statement
        // that ran twice would violate the primary key.
        expect(isDatabaseDown(error)).toBe(true);
        unknown += 1;
      }
      ended += 1;
    }
  };
  await Promise.all([1, 2, 3, 4].map(work));
  isOver = true;
  await killing;
  const rows = Number(await pool.oneFirst(count`select count(*) as n from auth.leases`));
  expect(rows).toBeGreaterThanOrEqual(240 - unknown);
  expect(rows).toBeLessThanOrEqual(240);
  expect(unknown).toBeLessThan(24);
});

test("after its connection is lost, a transaction that swallows the error can write nothing more", async () => {
  await using db = await createTestDatabase();
  await using killer = await createKiller(db);
  const pool = await db.pool("auth", { poolSize: 1, maxOverflow: 0 });
  const outcome = pool.transaction(async (tx) => {
    await insertLease(tx, "before");
    await killer.kill();
    await insertLease(tx, "lost").catch(() => {});
    await insertLease(tx, "after");
  }, 0);
  await expect(outcome).rejects.toThrow(/lost during a transaction/);
  expect(await pool.any(sql.unsafe`select name from auth.leases`)).toEqual([]);
});

test("a restart of the server is waited for, and a server that stays away is reported at once", async () => {
  await using folder = createTempFolder();
  const first = await startEmbeddedPostgres({ folder: folder.path, fsync: false });
  const log = createTestLogger();
  const pool = await openPool({ url: first.url, schema: "auth", log, poolSize: 2, maxOverflow: 2 });
  await first.stop();
  const calls = Array.from({ length: 8 }, () => pool.oneFirst(count`select count(*) as n from pg_class`));
  const second = await startEmbeddedPostgres({ folder: folder.path, fsync: false, port: first.port });
  expect((await Promise.all(calls)).every((n) => n > 0n)).toBe(true);

  process.kill(second.pid, "SIGKILL");
  await second.exited;
  const third = await startEmbeddedPostgres({ folder: folder.path, fsync: false, port: first.port });
  await pool.query(sql.unsafe`select 1`);
  await third.stop();
  const error = await pool.query(sql.unsafe`select 1`).catch((thrown: unknown) => thrown);
  expect(isDatabaseDown(error)).toBe(true);
  const startedAt = performance.now();
  const next = await pool.query(sql.unsafe`select 1`).catch((thrown: unknown) => thrown);
  expect(isDatabaseDown(next)).toBe(true);
  expect(performance.now() - startedAt).toBeLessThan(5_000);
  await pool.end();
});

test("a pool that is opened while the database is away waits for it", async () => {
  await using folder = createTempFolder();
  await using first = await startEmbeddedPostgres({ folder: folder.path, fsync: false });
  const { port, url } = first;
  await first.stop();
  const opening = openPool({ url, schema: "auth", log: createTestLogger(), poolSize: 1 });
  await using _second = await startEmbeddedPostgres({ folder: folder.path, fsync: false, port });
  const pool = await opening;
  await pool.query(sql.unsafe`select 1`);
  await pool.end();
});

test("opening gives up after its time, with the cause and the cure", async () => {
  const url = "postgres://bob:opensesame@127.0.0.1:1/decentrastore";
  const opening = openPool({ url, schema: "auth", log: createTestLogger(), startTimeoutMs: 100 });
  const error = await opening.catch((thrown: unknown) => thrown);
  expect(String(error)).toContain("is PostgreSQL running?");
  expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain("opensesame");
});

test("connections that the network lost silently are given up: idle ones within a second, busy ones after their time", async () => {
  await using db = await createTestDatabase();
  const direct = new URL(db.url("auth_app"));
  await using proxy = await startTcpProxy(Number(direct.port));
  direct.port = String(proxy.port);
  const pool = await db.pool("auth", {
    url: direct.href,
    poolSize: 2,
    maxOverflow: 0,
    statementTimeoutMs: 500,
    probeAfterMs: 0,
  });
  proxy.freeze();
  proxy.thaw();
  const startedAt = performance.now();
  await Promise.all([insertLease(pool, "a"), pool.transaction((tx) => insertLease(tx, "b"))]);
  expect(performance.now() - startedAt).toBeLessThan(10_000);

  const outcome = pool.transaction(async (tx) => {
    await tx.query(sql.unsafe`select 1`);
    proxy.freeze();
    return tx.query(sql.unsafe`select 1`);
  }, 0);
  await expect(outcome).rejects.toThrow(/lost during a transaction/);
  expect(performance.now() - startedAt).toBeLessThan(30_000);
});

test("while an address swallows connections, one caller at a time waits for it and the others fail at once", async () => {
  await using folder = createTempFolder();
  await using server = await startEmbeddedPostgres({ folder: folder.path, fsync: false });
  await using proxy = await startTcpProxy(server.port);
  const url = `${server.url.replace(`:${server.port}/`, `:${proxy.port}/`)}?connect_timeout=1`;
  const pool = await openPool({
    url,
    schema: "auth",
    log: createTestLogger(),
    poolSize: 1,
    maxOverflow: 9,
    probeAfterMs: 0,
  });
  proxy.freeze();
  const first = await pool.query(sql.unsafe`select 1`).catch((thrown: unknown) => thrown);
  expect(isDatabaseDown(first)).toBe(true);
  const startedAt = performance.now();
  const calls = await Promise.allSettled(Array.from({ length: 50 }, () => pool.query(sql.unsafe`select 1`)));
  expect(calls.every((call) => call.status === "rejected" && isDatabaseDown(call.reason))).toBe(true);
  expect(performance.now() - startedAt).toBeLessThan(20_000);
  proxy.thaw();
  // The try that was under way when the address came back still has to run into its timeout.
  await expect
    .poll(
      () =>
        pool.query(sql.unsafe`select 1`).then(
          () => "served",
          (error) => (isDatabaseDown(error) ? "down" : error),
        ),
      { timeout: 20_000 },
    )
    .toBe("served");
  await pool.end();
});
