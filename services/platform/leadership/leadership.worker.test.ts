import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import type { Pool } from "../postgres/pool.ts";
import { eventually, querySuperuser } from "../testing/event-kit.ts";
import { createTestDatabase, createTestLogger, type TestDatabase } from "../testing/test-database.ts";
import { systemClock } from "../time/clock.ts";
import { holderName, isCertainlyDead } from "./holder.ts";
import { assertLeader, type LeadershipOptions, type Lease, runAsLeader } from "./leadership.ts";

interface Candidate extends AsyncDisposable {
  /** The terms it led, and whether each has ended. */
  terms: { lease: Lease; isOver: boolean }[];
  leads(): boolean;
}

function candidate(pool: Pool, options: Partial<LeadershipOptions> = {}): Candidate {
  const stop = new AbortController();
  const terms: Candidate["terms"] = [];
  const running = runAsLeader({
    ...{ pool, schema: "auth", name: "test", ttlMs: 3_000, clock: systemClock, log: createTestLogger() },
    signal: stop.signal,
    work: async (lease) => {
      const term = { lease, isOver: false };
      terms.push(term);
      const ended = Promise.withResolvers<void>();
      lease.signal.addEventListener("abort", () => ended.resolve());
      await ended.promise;
      term.isOver = true;
    },
    ...options,
  });
  return {
    terms,
    leads: () => terms.some(({ lease, isOver }) => !isOver && lease.isHeld()),
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
}

const expire = (db: TestDatabase) =>
  querySuperuser(db, "update auth.leases set holder = gen_random_uuid(), epoch = epoch + 1 where name = 'test'");

/** Resolves when the leader has renewed its lease so many times. */
async function renewals(db: TestDatabase, count: number): Promise<void> {
  const seen = new Set<string>();
  const isEnough = async () => {
    const [row] = await querySuperuser(db, "select expires_at::text from auth.leases where name = 'test'");
    return seen.add(String(row?.expires_at)).size > count;
  };
  await eventually(isEnough, `${count} renewals`);
}

test("one of two leads; when it stops the other follows with a higher epoch", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  const first = candidate(pool);
  await eventually(() => first.leads(), "the first leads");
  await using second = candidate(pool);
  await renewals(db, 4); // one comes every third of the time to live
  expect(second.terms).toHaveLength(0);
  expect(first.terms).toHaveLength(1);
  await first[Symbol.asyncDispose]();
  await eventually(() => second.leads(), "the second leads");
  expect(second.terms[0]?.lease.epoch).toBeGreaterThan(first.terms[0]?.lease.epoch ?? 0n);
});

test("a leader that was deposed is told, and its epoch counts no more", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  await using leader = candidate(pool);
  await eventually(() => leader.leads(), "it leads");
  const epoch = leader.terms[0]?.lease.epoch ?? 0n;
  expect(await pool.transaction((tx) => assertLeader(tx, "auth", "test", epoch))).toBe(true);
  await expire(db);
  expect(await pool.transaction((tx) => assertLeader(tx, "auth", "test", epoch))).toBe(false);
  await eventually(() => leader.terms[0]?.isOver === true, "it stops working");
});

test("nobody takes the lease between the check and the commit", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  await using leader = candidate(pool);
  await eventually(() => leader.leads(), "it leads");
  const epoch = leader.terms[0]?.lease.epoch ?? 0n;
  let taking: Promise<unknown> = Promise.resolve();
  let isTaken = false;
  await pool.transaction(async (tx) => {
    await assertLeader(tx, "auth", "test", epoch);
    taking = expire(db).then(() => {
      isTaken = true;
    });
    const isBlocked = async () => (await querySuperuser(db, "select 1 from pg_locks where not granted")).length > 0;
    await eventually(isBlocked, "the taker waits");
    expect(isTaken).toBe(false);
  });
  await taking;
  expect(isTaken).toBe(true);
});

test("a short outage of the database keeps the leader, a long one deposes it by its own clock", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  await using leader = candidate(pool);
  await eventually(() => leader.leads(), "it leads");
  await querySuperuser(
    db,
    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename = 'auth_app'",
  );
  await renewals(db, 4);
  expect(leader.terms).toHaveLength(1);
  expect(leader.leads()).toBe(true);
  await querySuperuser(db, "revoke update on auth.leases from auth_app");
  await eventually(() => leader.terms[0]?.isOver === true, "it gives up");
  await querySuperuser(db, "grant update on auth.leases to auth_app");
  await eventually(() => leader.leads(), "it leads again");
});

test("a server that has lost the last taking of a lease gives its epoch to nobody else", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  const earlier = candidate(pool);
  await eventually(() => earlier.leads(), "an earlier leader");
  await earlier[Symbol.asyncDispose]();
  const backup = await querySuperuser(db, "select epoch::text from auth.leases where name = 'test'");
  await using deposed = candidate(pool);
  await eventually(() => deposed.leads(), "the leader whose taking will be lost");
  const lostEpoch = deposed.terms[0]?.lease.epoch ?? 0n;
  await querySuperuser(
    db,
    `update auth.leases set holder = gen_random_uuid(), epoch = ${backup[0]?.epoch}, expires_at = now() - interval '1 s'`,
  );
  await using next = candidate(pool);
  await eventually(() => next.leads() || deposed.terms.length > 1, "somebody leads under a new epoch");
  await eventually(() => deposed.terms[0]?.isOver === true, "the deposed one stops working");
  expect(await pool.transaction((tx) => assertLeader(tx, "auth", "test", lostEpoch))).toBe(false);
});

test("a lease that a clock ahead has written is taken once nobody renews it", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth");
  await querySuperuser(
    db,
    "insert into auth.leases (name, holder, epoch, expires_at) values ('test', gen_random_uuid(), 7, now() + interval '1 year')",
  );
  await using leader = candidate(pool);
  await eventually(() => leader.leads(), "it leads");
  expect(leader.terms[0]?.lease.epoch).toBeGreaterThan(7n);
});

test("work that fails is begun again", async () => {
  await using db = await createTestDatabase();
  let runs = 0;
  await using leader = candidate(await db.pool("auth"), {
    work: async () => {
      runs += 1;
      throw new Error("broken");
    },
  });
  await eventually(() => runs >= 2, "a second run");
  expect(leader.terms).toEqual([]);
});

test("the lease of a process that died on this machine is taken at once", () => {
  const script = `import { holderName } from ${JSON.stringify(new URL("holder.ts", import.meta.url).href)}; process.stdout.write(holderName())`;
  const dead = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" }).stdout;
  expect(dead).toMatch(/^[0-9a-f-]{36}$/);
  expect(isCertainlyDead(dead)).toBe(process.platform === "linux");
  expect(isCertainlyDead(holderName())).toBe(false);
  expect(isCertainlyDead("3f8e9d7c-1111-4222-8333-444455556666")).toBe(false);
});
