import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { bytes, instant, sql, zInstant, zVoid } from "#platform/postgres/sql.ts";
import { latestCredible } from "../wrong-clock.ts";

export interface Rate {
  /** So many at once. */
  readonly burst: number;
  /** Then one per this time. */
  readonly intervalMs: number;
}

/**
 * Takes one from the bucket of `key` (GCRA in one statement, so it holds over all replicas). Undefined when there was
 * one, otherwise the milliseconds until there will be.
 */
export async function takeFromRate(
  db: Connection,
  key: Buffer,
  rate: Rate,
  now: Temporal.Instant,
): Promise<number | undefined> {
  const at = instant(now);
  const latest = instant(now.add({ milliseconds: (rate.burst - 1) * rate.intervalMs }));
  const farAhead = instant(latestCredible(now).add({ milliseconds: rate.burst * rate.intervalMs }));
  const step = sql.fragment`make_interval(secs => ${rate.intervalMs / 1_000})`;
  const taken = await db.maybeOne(sql.type(zFull)`
    insert into auth.rate_limits as r (key, full_at) values (${bytes(key)}, ${at} + ${step})
    on conflict (key) do update set
      full_at = case when r.full_at > ${farAhead} then ${at} else greatest(r.full_at, ${at}) end + ${step}
    where r.full_at <= ${latest} or r.full_at > ${farAhead}
    returning r.full_at "fullAt"`);
  if (taken !== null) return undefined;
  const found = await db.maybeOne(sql.type(zFull)`
    select full_at "fullAt" from auth.rate_limits where key = ${bytes(key)}`);
  const fullMs = found?.fullAt.epochMilliseconds ?? now.epochMilliseconds;
  return Math.max(1, fullMs - now.epochMilliseconds - (rate.burst - 1) * rate.intervalMs);
}

const zFull = z.strictObject({ fullAt: zInstant });

/** Removes buckets that are full again; returns how many, at most `limit`. */
export async function deleteFullRates(db: Connection, now: Temporal.Instant, limit: number): Promise<number> {
  const { rowCount } = await db.query(sql.type(zVoid)`
    delete from auth.rate_limits where key in (
      select key from auth.rate_limits where full_at < ${instant(now)} limit ${limit} for update skip locked)`);
  return rowCount;
}
