import { expect, test } from "vitest";
import { z } from "zod";
import { createLogger } from "../log/logger.ts";
import { createMetrics } from "../ops/metrics.ts";
import { createTestDatabase } from "../testing/test-database.ts";
import { connectClient } from "./client.ts";
import { isStatementTimeout, PoolExhaustedError, RowShapeError, uniqueViolationOf } from "./errors.ts";
import { backgroundOf, type PoolOptions } from "./pool.ts";
import {
  byteaArray,
  bytes,
  hexBytes,
  hexBytesArray,
  instant,
  instantArray,
  int8Array,
  sql,
  uuidArray,
  zBytes,
  zInstant,
  zInt8,
  zUuid,
} from "./sql.ts";

test("values come back as they went in: microseconds, 64 bits, bytes, arrays", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  const at = Temporal.Instant.from("2026-01-02T03:04:05.678901Z");
  const row = z.strictObject({
    at: zInstant,
    ats: z.array(zInstant.nullable()),
    big: zInt8,
    bigs: z.array(zInt8),
    bytes: zBytes,
    hex: zBytes,
    many: z.array(zBytes),
    day: z.string(),
    exact: z.string(),
    ratio: z.number(),
  });
  const result = await pool.one(sql.type(row)`
    select ${instant(at)} as at, ${instantArray([at, null])} as ats, ${2n ** 62n}::int8 as big, ${int8Array([-1n, 7])} as bigs,
      ${bytes(new Uint8Array([0, 255]).subarray(1))} as bytes, ${hexBytes("00ff")} as hex,
      ${byteaArray([new Uint8Array([1, 2]), Buffer.from("x")])} as many,
      date '2026-03-01' as day, 0.1::numeric as exact, 0.5::float8 as ratio`);
  expect(result.at.equals(at)).toBe(true);
  expect(result.ats.map(String)).toEqual([at.toString(), "null"]);
  expect(result).toMatchObject({ big: 2n ** 62n, bigs: [-1n, 7n], day: "2026-03-01", exact: "0.1", ratio: 0.5 });
  expect([result.bytes, result.hex, ...result.many].map((b) => b.toString("hex"))).toEqual([
    "ff",
    "00ff",
    "0102",
    "78",
  ]);
});

test("arrays keep their nulls and may be empty, and what is no value of their type is refused before it is sent", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  const id = "0190A1B2-c3d4-7e5f-8091-a2b3c4d5e6f7";
  const row = sql.type(z.strictObject({ ids: z.array(zUuid.nullable()), hex: z.array(zBytes.nullable()) }));
  const read = (ids: (string | null)[], hex: (string | null)[]) =>
    pool.one(row`select ${uuidArray(ids)} as ids, ${hexBytesArray(hex)} as hex`);
  expect(await read([null, id, null], ["00FF", null, ""])).toEqual({
    ids: [null, id.toLowerCase(), null],
    hex: [Buffer.from([0, 255]), null, Buffer.alloc(0)],
  });
  expect(await read([], [])).toEqual({ ids: [], hex: [] });
  const tooShort = id.slice(1);
  for (const wrong of [tooShort, `${tooShort}g`, `${id}0`, ""])
    expect(() => uuidArray([wrong])).toThrow(/16 bytes in hex/);
  for (const wrong of ["0", "0g", "0x00", "00 1"]) expect(() => hexBytesArray([wrong])).toThrow(/bytes in hex/);
});

test("a row that does not fit its schema is an error that names columns and no values", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  const query = sql.type(z.strictObject({ name: z.number() }))`select 'opensesame' as name, 1 as more`;
  const error = await pool.one(query).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(RowShapeError);
  expect(String(error)).toMatch(/name: .*more/s);
  expect(String(error)).not.toContain("opensesame (");
});

test("several statements in one text are refused before the first one runs", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  const lease = "insert into auth.leases values ('x', gen_random_uuid(), 1, now())";
  await expect(pool.query({ ...sql.unsafe`select`, sql: `${lease}; select 1` })).rejects.toThrow(/multiple commands/);
  expect(await pool.any(sql.unsafe`select name from auth.leases`)).toEqual([]);
});

test("a transaction that swallows a failed statement is not taken for committed", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth", { poolSize: 1, maxOverflow: 0 });
  const outcome = pool.transaction(async (tx) => {
    await tx.query(sql.unsafe`insert into auth.leases values ('x', gen_random_uuid(), 1, now())`);
    await tx.query(sql.unsafe`select 1 / 0`).catch(() => {});
  });
  await expect(outcome).rejects.toThrow(/was rolled back: a statement in it had failed/);
  expect(await pool.any(sql.unsafe`select name from auth.leases`)).toEqual([]);
});

test("waiting for a connection is bounded in time and in number, and counted", async () => {
  await using db = await createTestDatabase();
  const metrics = createMetrics("test");
  const pool = await db.pool("auth", { poolSize: 1, maxOverflow: 0, waitMs: 200, metrics });
  const release = Promise.withResolvers<void>();
  const holder = pool.connect(() => release.promise);
  const waiting = Promise.allSettled(Array.from({ length: 30 }, () => pool.query(sql.unsafe`select 1`)));
  const results = await waiting;
  expect(results.every((r) => r.status === "rejected" && r.reason instanceof PoolExhaustedError)).toBe(true);
  release.resolve();
  await holder;
  await pool.query(sql.unsafe`select 1`);
  const text = await metrics.registry.metrics();
  expect(text).toMatch(/database_pool_refused_total\{[^}]*\} 30/);
  expect(text).toMatch(/database_pool_in_use\{[^}]*\} 0/);
});

test("those who wait get connections in their order", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth", { poolSize: 1, maxOverflow: 0 });
  const order: number[] = [];
  const call = (n: number) =>
    pool.connect(async (c) => void order.push(n + 0 * (await c.query(sql.unsafe`select 1`)).rowCount));
  await Promise.all([1, 2, 3, 4, 5].map(call));
  expect(order).toEqual([1, 2, 3, 4, 5]);
});

test("a statement that takes too long is ended, and its connection is usable again", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth", { poolSize: 1, maxOverflow: 0, statementTimeoutMs: 100 });
  const error = await pool.query(sql.unsafe`select pg_sleep(5)`).catch((thrown: unknown) => thrown);
  expect(isStatementTimeout(error)).toBe(true);
  await pool.query(sql.unsafe`select 1`);
});

test("violated constraints are told by name", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  const insert = () => pool.query(sql.unsafe`insert into auth.leases values ('x', gen_random_uuid(), 1, now())`);
  await insert();
  const error = await insert().catch((thrown: unknown) => thrown);
  expect(uniqueViolationOf(error)).toBe("leases__pkey");
  expect(uniqueViolationOf(new Error("other"))).toBeUndefined();
});

test("a deadlock is solved by repeating a transaction", async () => {
  await using db = await createTestDatabase();
  const metrics = createMetrics("test");
  const pool = await db.pool("auth", { metrics });
  await pool.query(
    sql.unsafe`insert into auth.leases select n, gen_random_uuid(), 0, now() from unnest(array['a', 'b']) as n`,
  );
  let calls = 0;
  const bothHoldOne = Promise.withResolvers<void>();
  let updates = 0;
  const raise = (names: readonly string[]) =>
    pool.transaction(async (tx) => {
      calls += 1;
      for (const name of names) {
        await tx.query(sql.unsafe`update auth.leases set epoch = epoch + 1 where name = ${name}`);
        updates += 1;
        if (updates === 2) bothHoldOne.resolve();
        await bothHoldOne.promise;
      }
    });
  await Promise.all([raise(["a", "b"]), raise(["b", "a"])]);
  expect(calls).toBeGreaterThan(2);
  expect(await metrics.registry.metrics()).toMatch(/database_conflicts_total\{[^}]*code="40P01"[^}]*\} [1-9]/);
  const row = sql.type(z.strictObject({ epoch: z.bigint() }));
  expect(await pool.anyFirst(row`select epoch from auth.leases`)).toEqual([2n, 2n]);
});

test("a server that is set to another style of dates is read all the same", async () => {
  await using db = await createTestDatabase();
  const superuser = await connectClient(db.url(), { applicationName: "test" });
  await superuser.query(
    `alter database ${db.name} set datestyle = 'SQL, DMY'; alter database ${db.name} set timezone = 'Asia/Kolkata'`,
  );
  await superuser.end();
  const pool = await db.pool("auth");
  const row = sql.type(z.strictObject({ at: zInstant }));
  const at = Temporal.Instant.from("2026-03-04T05:06:07.000008Z");
  expect((await pool.oneFirst(row`select ${instant(at)} as at`)).toString()).toBe(at.toString());
});

test("statements are logged with their duration and without values: all, slow ones, failed ones, or none", async () => {
  await using db = await createTestDatabase();
  const linesWith = async (options: Partial<PoolOptions>) => {
    const lines: string[] = [];
    const log = createLogger("test", "info", { write: (line) => void lines.push(line) });
    const pool = await db.pool("auth", { ...options, log });
    lines.length = 0;
    await pool.query(sql.unsafe`select ${"opensesame"}::text as word`);
    await pool.query(sql.unsafe`select ${"opensesame"}::int as word`).catch(() => {});
    return lines.join("");
  };
  const all = await linesWith({ logQueries: "all" });
  expect(all).toMatch(/"sql":"select \$1::text as word","durationMs":[\d.]+,"rows":1,"msg":"query"/);
  expect(all).toMatch(/"msg":"query failed"/);
  const slow = await linesWith({ logQueries: "slow" });
  expect(slow).not.toContain('"msg":"query"');
  expect(slow).toContain('"msg":"query failed"');
  expect(await linesWith({ logQueries: "slow", slowQueryMs: 0 })).toContain('"msg":"slow query"');
  expect(await linesWith({ logQueries: "off" })).toBe("");
  expect(all + slow).not.toContain("opensesame");
});

test("calls that wait for a connection leave background work its share", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth", { poolSize: 2, maxOverflow: 8, waitMs: 60_000 });
  const one = sql.type(z.strictObject({ n: z.number() }))`select 1 as n`;
  const release = Promise.withResolvers<void>();
  let running = 0;
  const calls = Array.from({ length: 30 }, () =>
    pool.transaction(async (tx) => {
      running += 1;
      await tx.one(one);
      await release.promise;
    }),
  );
  const background = backgroundOf(pool);
  await Promise.all([1, 2, 3, 4].map(() => background.transaction((tx) => tx.one(one))));
  await expect.poll(() => running, { timeout: 30_000 }).toBe(8);
  expect(await background.one(one)).toEqual({ n: 1 });
  expect(running).toBe(8);
  release.resolve();
  await Promise.all(calls);
  expect(backgroundOf(background)).toBe(background);
});
