import { expect, test } from "vitest";
import { sql } from "#platform/postgres/sql.ts";
import { toDuration } from "#platform/rpc/time.ts";
import { querySuperuser } from "#platform/testing/event-kit.ts";
import { admin, createFixture, type Fixture, gateway } from "../testing/fixture.ts";
import { sweepOnce } from "./sweeper.worker.ts";

async function reserve(fixture: Fixture, userId: string): Promise<string> {
  const request = { userId, sizeBytes: 40n, idempotencyKey: "key", ttl: toDuration(1_000) };
  const { reservation } = await fixture.as(gateway).reserveStorage(request);
  return reservation?.reservationId ?? "";
}

/** Reserved bytes as they are written down, overdue reservations included. */
async function writtenReserved(fixture: Fixture, userId: string) {
  return await querySuperuser(
    fixture.db,
    `select storage_reserved_bytes::int as bytes from user_quota.accounts where user_id = '${userId}'`,
  );
}

test("a user with more overdue reservations than a batch has is not taken for the last of them", async () => {
  await using fixture = await createFixture();
  const [many, other] = [await fixture.account(1_000n), await fixture.account(1_000n)];
  await fixture.pool.query(sql.unsafe`
    insert into user_quota.reservations
      (reservation_id, user_id, client_id, idempotency_key, size_bytes, held_bytes, created_at, expires_at)
    select gen_random_uuid(), ${many}, 'gateway', n::text, 1, 1, '2020-01-02', '2020-01-02'
    from generate_series(1, 250) as n`);
  await fixture.pool.query(sql.unsafe`
    update user_quota.accounts set storage_reserved_bytes = 250 where user_id = ${many}`);
  await reserve(fixture, other);
  fixture.clock.jump(2_000);
  expect(await sweepOnce(fixture.deps)).toBe(200);
  expect(await sweepOnce(fixture.deps)).toBe(1);
  expect(await sweepOnce(fixture.deps)).toBe(0);
  for (const userId of [many, other]) expect(await writtenReserved(fixture, userId)).toEqual([{ bytes: 0 }]);
});

test("an account whose counters are wrong keeps no other from being swept", async () => {
  await using fixture = await createFixture();
  const users = [await fixture.account(1_000n), await fixture.account(1_000n), await fixture.account(1_000n)].sort();
  for (const userId of users) await reserve(fixture, userId);
  const [first = "", wrong = "", last = ""] = users;
  await querySuperuser(
    fixture.db,
    `update user_quota.accounts set storage_reserved_bytes = 39 where user_id = '${wrong}'`,
  );
  fixture.clock.jump(2_000);
  expect(await sweepOnce(fixture.deps)).toBe(0);
  expect(await writtenReserved(fixture, first)).toEqual([{ bytes: 0 }]);
  expect(await writtenReserved(fixture, last)).toEqual([{ bytes: 0 }]);
  expect(await writtenReserved(fixture, wrong)).toEqual([{ bytes: 39 }]);
  expect((await fixture.as(admin).getQuota({ userId: last })).quota?.storageReservedBytes).toBe(0n);
});
