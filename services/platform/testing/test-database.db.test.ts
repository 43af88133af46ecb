import { expect, test } from "vitest";
import { z } from "zod";
import { sql } from "../postgres/sql.ts";
import { createTestDatabase } from "./test-database.ts";

test("a test has a database of its own, and a pool with the rights of one service", async () => {
  await using first = await createTestDatabase();
  await using second = await createTestDatabase();
  expect(first.name).not.toBe(second.name);
  const pool = await first.pool("user_quota");
  const row = sql.type(z.strictObject({ role: z.string(), database: z.string() }));
  expect(await pool.one(row`select current_user::text as role, current_database()::text as database`)).toEqual({
    role: "user_quota_app",
    database: first.name,
  });
});
