import { expect, test } from "vitest";
import { connectClient } from "#platform/postgres/client.ts";
import { sql } from "#platform/postgres/sql.ts";
import { createTestDatabase } from "#platform/testing/test-database.ts";
import { planStatements } from "./plans.ts";
import { loginsWithRightsOf } from "./service-logins.ts";

test("statements of the services are listed with the index that serves them, or as scans", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  await pool.any(sql.unsafe`select name from auth.leases where name = ${"x"}`);
  await pool.any(sql.unsafe`select name from auth.leases where epoch = ${1}`);
  await pool.query(sql.unsafe`update auth.leases set epoch = 1 where name = ${"x"}`);
  const client = await connectClient(db.url(), { applicationName: "test" });
  const planned = await planStatements(client, ["auth_app"]);
  await client.end();
  const found = (part: string) => planned.find(({ statement }) => statement.includes(part));
  expect(found("select name from auth.leases where name")).toMatchObject({
    accesses: ["auth.leases by leases__pkey"],
    scans: [],
  });
  expect(found("select name from auth.leases where epoch")).toMatchObject({
    scans: [{ table: "auth.leases", mayUsePartialIndex: false }],
  });
  expect(found("update auth.leases")).toMatchObject({ accesses: ["auth.leases by leases__pkey"], calls: 1n });
});

test("statements of a login that has taken the place of an application role are listed as well", async () => {
  await using db = await createTestDatabase();
  const login = `plans_${db.name}`;
  const client = await connectClient(db.url(), { applicationName: "test" });
  await client.query(`create role ${login} login password 'second' in role auth_app`);
  const url = new URL(db.url());
  url.username = login;
  url.password = "second";
  const pool = await db.pool("auth", { url: url.href });
  await pool.any(sql.unsafe`select name from auth.leases where expires_at < now()`);
  const planned = await planStatements(client, ["auth_app"]);
  expect(planned.map(({ statement }) => statement)).toContain("select name from auth.leases where expires_at < now()");
  expect(await loginsWithRightsOf(client, ["auth_app"])).toContain(login);
  await client.query(`drop role ${login}`);
  await client.end();
});
