import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { byteaArray, bytes, instant, sql, zBytes, zInstant, zVoid } from "#platform/postgres/sql.ts";
import { latestCredible } from "../wrong-clock.ts";
import type { AttemptKeys } from "./throttle-keys.ts";

const row = z.strictObject({
  key: zBytes,
  failures: z.int(),
  lastFailureAt: zInstant.nullable(),
  inFlight: z.int(),
  inFlightUntil: zInstant.nullable(),
  trustedUntil: zInstant.nullable(),
});
export type ThrottleRow = z.output<typeof row>;

/**
 * The commit of this statement does not wait for the disk: others see the count at once, and a crash of PostgreSQL
 * takes half a second of it at most, while every login would pay for two more writes to the disk.
 */
const unsynced = sql.fragment`(select set_config('synchronous_commit', 'off', true)) as unsynced`;

/** How long an attempt may take until it counts as failed, though nobody said so. */
const IN_FLIGHT_SECONDS = 30;
/** How long the owner's address stays apart from what strangers do to the name. */
const TRUST_DAYS = 30;

export async function readThrottles(
  db: Connection,
  keys: AttemptKeys,
): Promise<{ readonly name: ThrottleRow | undefined; readonly pair: ThrottleRow | undefined }> {
  const rows = await db.any(sql.type(row)`
    select key, failures, last_failure_at "lastFailureAt", in_flight "inFlight", in_flight_until "inFlightUntil",
      trusted_until "trustedUntil"
    from auth.login_throttles where key = any(${byteaArray(all(keys))})`);
  return {
    name: rows.find((found) => found.key.equals(keys.name)),
    pair: rows.find((found) => found.key.equals(keys.nameAndAddress)),
  };
}

/**
 * Counts an attempt before its hash, under both keys, in one statement: each row admits it or stays as it is. Returns
 * the keys that did. The condition is `admissionOf` of backoff.ts; `exempt` is not asked, only counted.
 */
export async function beginAttempt(
  db: Connection,
  keys: AttemptKeys,
  exempt: Buffer | undefined,
  now: Temporal.Instant,
): Promise<readonly Buffer[]> {
  const at = instant(now);
  const until = instant(now.add({ seconds: IN_FLIGHT_SECONDS }));
  const farAhead = instant(latestCredible(now));
  const isLost = sql.fragment`t.in_flight_until not between ${at} and ${farAhead}`;
  const lost = sql.fragment`case when ${isLost} then t.in_flight else 0 end`;
  const inFlight = sql.fragment`case when ${isLost} then 0 else t.in_flight end`;
  const last = sql.fragment`case when ${isLost} and t.in_flight > 0
    then greatest(t.last_failure_at, t.in_flight_until) else t.last_failure_at end`;
  const counted = sql.fragment`auth.counted_failures(t.failures + ${lost}, ${last}, ${at})`;
  const isExempt = exempt === undefined ? sql.fragment`false` : sql.fragment`t.key = ${bytes(exempt)}`;
  return await db.anyFirst(sql.type(z.strictObject({ key: zBytes }))`
    insert into auth.login_throttles as t (key, in_flight, in_flight_until)
    select k, 1, ${until} from unnest(${byteaArray(all(keys))}) as k, ${unsynced} order by k
    on conflict (key) do update set
      failures = t.failures + ${lost}, last_failure_at = ${last},
      in_flight = ${inFlight} + 1, in_flight_until = ${until}
    where ${isExempt} or (
      (${last} is null or ${counted} < 10 or ${at} >= ${last} + auth.wait_after(${counted})
        or ${last} > ${farAhead})
      and (${inFlight} = 0 or ${counted} + ${inFlight} < 10))
    returning t.key`);
}

export type Outcome = "failed" | "succeeded" | "abandoned";

/** What became of an attempt that `beginAttempt` counted under `keys`. Returns the most failures under any of them. */
export async function endAttempt(
  tx: Connection,
  keys: readonly Buffer[],
  outcome: Outcome,
  now: Temporal.Instant,
  trust?: Buffer,
): Promise<number> {
  const at = instant(now);
  const failure =
    outcome === "failed"
      ? sql.fragment`failures = auth.counted_failures(t.failures, t.last_failure_at, ${at}) + 1, last_failure_at = ${at},`
      : sql.fragment``;
  const trusted =
    trust === undefined
      ? sql.fragment``
      : sql.fragment`trusted_until = case when t.key = ${bytes(trust)}
          then ${instant(now.add({ hours: 24 * TRUST_DAYS }))} else t.trusted_until end,`;
  const failures = await tx.anyFirst(sql.type(z.strictObject({ failures: z.int() }))`
    with locked as (
      select key from auth.login_throttles where key = any(${byteaArray(keys)}) order by key for update
    )
    update auth.login_throttles t
    set ${failure} ${trusted} in_flight = greatest(t.in_flight - 1, 0)
    from locked where t.key = locked.key returning t.failures`);
  return Math.max(0, ...failures);
}

/**
 * Removes rows that say nothing any more; returns how many, at most `limit`. Rows that a login is just using stay: it
 * neither waits for this nor meets its locks in another order.
 */
export async function deleteQuietThrottles(db: Connection, now: Temporal.Instant, limit: number): Promise<number> {
  const { rowCount } = await db.query(sql.type(zVoid)`
    delete from auth.login_throttles where key in (
      select key from auth.login_throttles
      where (in_flight = 0 or in_flight_until < ${instant(now.subtract({ hours: 48 }))})
        and coalesce(last_failure_at, '-infinity') < ${instant(now.subtract({ hours: 48 }))}
        and coalesce(trusted_until, '-infinity') < ${instant(now)}
      limit ${limit} for update skip locked)`);
  return rowCount;
}

function all(keys: AttemptKeys): Buffer[] {
  return [keys.name, keys.nameAndAddress];
}
