import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { databaseService } from "#platform/ops/database-service.ts";
import { createTestDatabase, createTestLogger, type TestDatabase } from "#platform/testing/test-database.ts";
import { startTestService, type TestService } from "#platform/testing/test-service.ts";

const path = "/decentrastore.ops.v1.DatabaseService/GetDatabaseStats";
const statsSchema = z.object({
  tables: z.array(
    z.object({
      schema: z.string(),
      table: z.string(),
      rowEstimate: z.number().default(0),
      sizeBytes: z.string(),
      sizePretty: z.string(),
    }),
  ),
  connections: z.array(z.object({ state: z.string(), connections: z.number() })).min(1),
  cacheHitRatio: z.number().min(0).max(1),
  databaseSizeBytes: z.string(),
  databaseSizePretty: z.string(),
  serverVersion: z.string(),
});

let db: TestDatabase;
let running: TestService;
beforeAll(async () => {
  db = await createTestDatabase();
  const pool = await db.pool("auth");
  running = await startTestService({ services: [databaseService({ pool, schema: "auth", log: createTestLogger() })] });
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await db[Symbol.asyncDispose]();
});

async function get(url: string) {
  const authorization = await running.issuer.user(randomUUID(), { isAdmin: true });
  const response = await fetch(url, { headers: { authorization } });
  expect(response.status).toBe(200);
  return statsSchema.parse(await response.json());
}

test("tables are listed by size, with their partitions folded in", async () => {
  const stats = await get(`${running.url}${path}?encoding=json&message=%7B%7D`);
  const names = stats.tables.map(({ table }) => table);
  expect(names).toContain("users");
  expect(names).toContain("outbox");
  expect(names.filter((name) => /^(outbox|inbox)_.*\d/.test(name))).toEqual([]);
  const sizes = stats.tables.map(({ sizeBytes }) => Number(sizeBytes));
  expect(sizes).toEqual(sizes.toSorted((a, b) => b - a));
  expect(sizes[0]).toBeGreaterThan(0);
});

test("the bare path answers the same", async () => {
  const [bare, full] = [await get(running.url + path), await get(`${running.url}${path}?encoding=json&message=%7B%7D`)];
  expect(bare.tables.map(({ table }) => table)).toEqual(full.tables.map(({ table }) => table));
});

test("nobody but an admin sees it", async () => {
  expect((await fetch(running.url + path)).status).toBe(401);
  const authorization = await running.issuer.service("gateway", ["quota.read"]);
  expect((await fetch(running.url + path, { headers: { authorization } })).status).toBe(403);
});
