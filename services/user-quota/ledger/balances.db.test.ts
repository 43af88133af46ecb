import { expect, test } from "vitest";
import { sql } from "#platform/postgres/sql.ts";
import { createFixture } from "../testing/fixture.ts";
import { proveBalances } from "./balances.store.ts";

test("an account is proved by all its entries, also where one statement does not read them all", async () => {
  await using fixture = await createFixture();
  const { pool } = fixture.deps;
  const [many, none] = [await fixture.account(), await fixture.account()];
  const last = 40_001;
  await pool.query(sql.unsafe`
    insert into user_quota.ledger_entries (
      user_id, entry_id, kind, delta_bytes, used_before_bytes, used_after_bytes, storage_quota_bytes, is_anomaly, actor_id,
      reason, created_at
    )
    select ${many}::uuid, number, 'adjustment', 2, 2 * (number - 1), 2 * number, 0, false, 'test', 'test', now()
    from generate_series(1, ${last}::int + 1) as number`);
  // The last entry is of a commit that came after the counters were read: it is not theirs.
  await pool.query(sql.unsafe`
    update user_quota.accounts set storage_used_bytes = ${2 * last}, last_entry_id = ${last} where user_id = ${many}`);
  const proofs = await proveBalances(pool, [many, none]);
  const byUser = new Map(proofs.map((proof) => [proof.userId, proof]));
  expect(byUser.get(many)).toMatchObject({ usedBytes: 80_002n, ledgerBytes: 80_002n, entries: 40_001n });
  expect(byUser.get(none)).toMatchObject({ usedBytes: 0n, ledgerBytes: 0n, entries: 0n, lastEntryId: 0n });
  // A process that stops does not go through millions of entries first.
  expect((await proveBalances(pool, [many, none], AbortSignal.abort())).map(({ userId }) => userId)).not.toContain(
    many,
  );
});
