import { expect, test } from "vitest";
import { sql, zVoid } from "#platform/postgres/sql.ts";
import { createTestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats } from "#platform/testing/test-nats.ts";
import { reasonOf } from "../testing/refusals.ts";
import { startTestAuth } from "../testing/start-test-auth.ts";

test("a login that is given up while another attempt is undecided counts as cancelled", async () => {
  await using db = await createTestDatabase();
  await using nats = await startTestNats();
  await using auth = await startTestAuth({ databaseUrl: db.url("auth_app"), natsUrl: nats.url("auth") });
  const pool = await db.pool("auth");
  const login = { username: "nobody", password: "wrong" };
  for (let n = 0; n < 9; n += 1) expect(await reasonOf(auth.auth.login(login))).toBe("INVALID_CREDENTIALS");
  // As if another replica were just checking the tenth.
  await pool.query(sql.type(zVoid)`
    update auth.login_throttles set in_flight = 1, in_flight_until = now() + interval '10 minutes'`);
  const givenUp = new AbortController();
  const waiting = reasonOf(auth.auth.login(login, { signal: givenUp.signal }));
  const metrics = async (pattern: RegExp) => [
    ...(await (await fetch(`${auth.opsUrl}/metrics`)).text()).matchAll(pattern),
  ];
  // It was let in once at least.
  const looks = async () => Number((await metrics(/auth_hash_wait_seconds_count\S* (\d+)/g))[0]?.[1]);
  await expect.poll(looks, { timeout: 20_000 }).toBeGreaterThan(9);
  givenUp.abort();
  await waiting;
  const codes = async () => (await metrics(/Login"\S*code="(\w+)"/g)).map(([, code]) => code).toSorted();
  await expect.poll(codes, { timeout: 20_000 }).toEqual(["CANCELLED", "UNAUTHENTICATED"]);
});
