import { randomUUID } from "node:crypto";
import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { sql } from "#platform/postgres/sql.ts";
import { toDuration } from "#platform/rpc/time.ts";
import { createFixture, gateway } from "../testing/fixture.ts";
import { expectSoundBooks } from "../testing/invariants.ts";

test("a user whose account is locked for long holds up nobody else", async () => {
  await using fixture = await createFixture();
  const [hot, other] = [await fixture.account(1_000n), await fixture.account(1_000n)];
  const reserve = (userId: string, timeoutMs?: number) => {
    const request = { userId, sizeBytes: 1n, idempotencyKey: randomUUID(), ttl: toDuration(60_000) };
    return fixture.as(gateway).reserveStorage(request, timeoutMs === undefined ? {} : { timeoutMs });
  };
  const unlock = Promise.withResolvers<void>();
  const locked = Promise.withResolvers<void>();
  const holder = fixture.pool.transaction(async (tx) => {
    await tx.query(sql.unsafe`select from user_quota.accounts where user_id = ${hot} for update`);
    locked.resolve();
    await unlock.promise;
  });
  await locked.promise;
  // Ten connections in all, far fewer than these calls.
  const waiting = Array.from({ length: 200 }, () => reserve(hot));
  await expect(reserve(hot, 50)).rejects.toMatchObject({ code: Code.DeadlineExceeded });
  await Promise.all(Array.from({ length: 20 }, () => reserve(other)));
  unlock.resolve();
  await holder;
  await Promise.all(waiting);
  // The call that gave up has reserved nothing when its turn came.
  const { quota } = await fixture.as(gateway).getQuota({ userId: hot });
  expect(quota?.storageReservedBytes).toBe(200n);
  await expectSoundBooks(fixture.pool);
});
