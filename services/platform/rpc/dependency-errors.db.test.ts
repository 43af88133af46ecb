import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { sql, zVoid } from "#platform/postgres/sql.ts";
import { createTestDatabase } from "#platform/testing/test-database.ts";
import { dependencyErrorOf } from "./dependency-errors.ts";

test("a database that loses the connection of every try of a transaction is down, and not busy", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth", { poolSize: 1, maxOverflow: 0 });
  let tries = 0;
  const error = await pool
    .transaction(async (tx) => {
      tries += 1;
      await tx.query(sql.type(zVoid)`select pg_terminate_backend(pg_backend_pid())`);
    })
    .catch((thrown: unknown) => thrown);
  expect(tries).toBeGreaterThan(1);
  expect(dependencyErrorOf(error)).toMatchObject({ code: Code.Unavailable, reason: "DEPENDENCY_UNAVAILABLE" });
});
