import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { instant, sql, zInstant, zVoid } from "#platform/postgres/sql.ts";
import type { Overdue } from "./brake.ts";
import { type LockedLease, zLockedLease } from "./leases.store.ts";

const zSweepState = z.strictObject({
  now: zInstant,
  swept_at: zInstant.nullable(),
  warm_until: zInstant.nullable(),
  halted_at: zInstant.nullable(),
  halted_nodes: z.int(),
  halted_of: z.int(),
  released_until: zInstant.nullable(),
});
export type SweepState = z.infer<typeof zSweepState>;

export async function selectSweepState(db: Connection): Promise<SweepState> {
  return db.one(sql.type(zSweepState)`
    select node_registry.lease_clock() as now, swept_at, warm_until, halted_at, halted_nodes, halted_of, released_until
    from node_registry.sweep_state`);
}

/** Nobody is called silent until one full lease from now. */
export async function warmUp(db: Connection, leaseTtlMs: number): Promise<void> {
  await db.query(sql.type(zVoid)`
    update node_registry.sweep_state set swept_at = node_registry.lease_clock(),
      warm_until = node_registry.lease_clock() + ${leaseTtlMs}::float8 * interval '1 millisecond'`);
}

export async function markSwept(db: Connection): Promise<void> {
  await db.query(sql.type(zVoid)`update node_registry.sweep_state set swept_at = node_registry.lease_clock()`);
}

/**
 * After the database's clock went back: heartbeats, protections and what the brake knows would hold for as long as it
 * went back.
 */
export async function clampToClock(db: Connection, leaseTtlMs: number): Promise<void> {
  await db.query(sql.type(zVoid)`
    update node_registry.node_leases set last_beat = node_registry.lease_clock()
    where last_beat > node_registry.lease_clock() + interval '1 second'`);
  // All by the same span: nodes that left one after the other have not left together.
  await db.query(sql.type(zVoid)`
    update node_registry.node_leases
    set liveness_since = liveness_since - (ahead.latest - node_registry.lease_clock())
    from (select max(liveness_since) as latest from node_registry.node_leases) as ahead
    where liveness_since > node_registry.lease_clock()`);
  await db.query(sql.type(zVoid)`
    update node_registry.registry_instances set
      renewed_at = least(renewed_at, node_registry.lease_clock()),
      protected_until = least(protected_until,
        node_registry.lease_clock() + ${leaseTtlMs}::float8 * interval '1 millisecond')`);
  await db.query(sql.type(zVoid)`
    update node_registry.sweep_state set halted_at = node_registry.lease_clock()
    where halted_at > node_registry.lease_clock()`);
  await db.query(sql.type(zVoid)`
    update node_registry.sweep_state set released_until = node_registry.lease_clock()
    where released_until > node_registry.lease_clock() + ${leaseTtlMs}::float8 * interval '1 millisecond'`);
}

export async function haltSweep(db: Connection, found: Overdue): Promise<void> {
  await db.query(sql.type(zVoid)`
    update node_registry.sweep_state set halted_at = coalesce(halted_at, node_registry.lease_clock()),
      halted_nodes = ${found.expired}, halted_of = ${found.online}`);
}

/** `releasedMs`: for how long no mass failure stops the sweep again. */
export async function releaseSweep(db: Connection, releasedMs: number): Promise<void> {
  await db.query(sql.type(zVoid)`
    update node_registry.sweep_state set halted_at = null, halted_nodes = 0, halted_of = 0,
      released_until = node_registry.lease_clock() + ${releasedMs}::float8 * interval '1 millisecond'`);
}

export async function insertSweepHistory(
  db: Connection,
  actor: string,
  evidence: string,
  reason: string,
): Promise<void> {
  await db.query(sql.type(zVoid)`
    insert into node_registry.node_history (kind, actor, evidence, reason)
    values ('sweep', ${actor}, ${evidence}, ${reason})`);
}

/**
 * The clock of one round: that of its first look, which was compared with the monotonic clock, unless the database's is
 * behind it. A clock that jumps in the middle of a round, either way, then makes nobody look silent.
 */
function roundClock(now: Temporal.Instant) {
  return sql.fragment`least(${instant(now)}, node_registry.lease_clock())`;
}

/**
 * A lease is only evidence against its node where the process that holds it was there to hear it. The processes are read
 * once, as an array: a look for each node makes the count several times as slow where all of a large network is silent.
 */
function isHeldByLateProcess(now: Temporal.Instant) {
  return sql.fragment`coalesce(l.holder = any (array(
    select i.instance_id from node_registry.registry_instances i where i.protected_until > ${roundClock(now)})), false)`;
}

function silentFor(ms: number, now: Temporal.Instant) {
  return sql.fragment`l.last_beat < ${roundClock(now)} - ${ms}::float8 * interval '1 millisecond'`;
}

export interface Round {
  readonly leaseTtlMs: number;
  readonly suspectAfterMs: number;
  readonly offlineAfterMs: number;
  /** By which silence is judged: the database's clock when the round began, or an earlier time. */
  readonly now: Temporal.Instant;
}

export async function countOverdue(
  db: Connection,
  { suspectAfterMs, offlineAfterMs, leaseTtlMs, now }: Round,
): Promise<Overdue> {
  return db.one(sql.type(
    z.strictObject({ expired: z.int(), silent: z.int(), recentlyOffline: z.int(), online: z.int() }),
  )`
    select
      (count(*) filter (where l.liveness <> 'offline' and ${silentFor(offlineAfterMs, now)} and not ${isHeldByLateProcess(now)}))::int
        as expired,
      (count(*) filter (where l.liveness <> 'offline' and ${silentFor(suspectAfterMs, now)}
        and not ${isHeldByLateProcess(now)}))::int as silent,
      (count(*) filter (where l.liveness = 'offline'))::int as "recentlyOffline",
      count(*)::int as online
    from node_registry.node_leases l
    join node_registry.storage_nodes n on n.id = l.node_row_id
    where n.state in ('in_service', 'draining')
      and (l.liveness in ('online', 'suspect') or (l.liveness = 'offline' and l.liveness_since >
        node_registry.lease_clock() - ${leaseTtlMs}::float8 * interval '1 millisecond'))`);
}

/**
 * Locks leases that are due for the next liveness, and their nodes, in the order of row ids, a bounded number at a time.
 * What somebody else has locked is left to the next round: a lease that is being written is that of a node that lives, and
 * nobody who forgets to end a transaction may keep all others from being called silent.
 */
export async function lockSilentLeases(
  tx: Transaction,
  to: "suspect" | "offline",
  { suspectAfterMs, offlineAfterMs, now }: Round,
  limit: number,
): Promise<readonly LockedLease[]> {
  const from =
    to === "suspect" ? sql.fragment`l.liveness = 'online'` : sql.fragment`l.liveness in ('online', 'suspect')`;
  return tx.any(sql.type(zLockedLease)`
    select l.node_row_id as row_id, encode(n.node_id, 'hex') as node_id, n.state, l.liveness, l.last_beat,
      extract(epoch from node_registry.lease_clock() - l.last_beat)::float8 * 1000 as silent_ms
    from node_registry.node_leases l
    join node_registry.storage_nodes n on n.id = l.node_row_id
    where ${from} and ${silentFor(to === "suspect" ? suspectAfterMs : offlineAfterMs, now)} and not ${isHeldByLateProcess(now)}
    order by l.node_row_id
    limit ${limit}
    for no key update of l, n skip locked`);
}
