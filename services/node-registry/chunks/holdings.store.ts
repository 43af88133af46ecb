import type { FragmentSqlToken } from "slonik";
import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { instant, int8Array, sql, textArray, zInt8, zVoid } from "#platform/postgres/sql.ts";
import type { Availabilities } from "./availability.ts";

/** What one transaction changes about a node's holdings. Bytes and counts may be negative; the digest adds modulo 2^64. */
export interface HoldingChange {
  readonly nodeRowId: bigint;
  assignedChunks: bigint;
  assignedBytes: bigint;
  confirmedChunks: bigint;
  confirmedBytes: bigint;
  digest: bigint;
  pendingDeletions: bigint;
}

/** Collects changes by node, so that each transaction touches each node's row once. */
export interface HoldingChanges {
  of(nodeRowId: bigint): HoldingChange;
  /** In the order in which rows are locked. */
  sorted(): readonly HoldingChange[];
}

export function collectHoldingChanges(): HoldingChanges {
  const byNode = new Map<bigint, HoldingChange>();
  return {
    of: (nodeRowId) => {
      const existing = byNode.get(nodeRowId);
      if (existing !== undefined) return existing;
      const added: HoldingChange = {
        nodeRowId,
        assignedChunks: 0n,
        assignedBytes: 0n,
        confirmedChunks: 0n,
        confirmedBytes: 0n,
        digest: 0n,
        pendingDeletions: 0n,
      };
      byNode.set(nodeRowId, added);
      return added;
    },
    sorted: () => [...byNode.values()].sort((a, b) => (a.nodeRowId < b.nodeRowId ? -1 : 1)),
  };
}

/** How a node's replicas count, as a row. */
export const zAvailability = z.strictObject({
  node_id: zInt8,
  is_available: z.boolean(),
  walked_to: z.string().nullable(),
});

export function toAvailabilities(rows: readonly z.infer<typeof zAvailability>[]): Availabilities {
  return new Map(rows.map((row) => [row.node_id, { isAvailable: row.is_available, walkedTo: row.walked_to }]));
}

/**
 * Applies the changes and keeps the rows locked until commit, so this comes after every chunk and upload lock. Written
 * for nodes that have a row already, as every node has that was ever assigned a chunk (`addAssignments`). Answers
 * whether the replicas of each node count as live at this point.
 */
export async function changeHoldings(
  tx: Transaction,
  changes: HoldingChanges,
  now: Temporal.Instant,
): Promise<Availabilities> {
  if (changes.sorted().length === 0) return new Map();
  const rows = await tx.any(sql.prepared("change_holdings", zAvailability)`
    with ${changingHoldings(changes, now, sql.fragment`true`)}
    select node_id, is_available, walked_to from changed_holdings`);
  return toAvailabilities(rows);
}

/** The same as a part of a larger statement; `after` is true once everything is locked that comes before. */
export function changingHoldings(changes: HoldingChanges, now: Temporal.Instant, after: FragmentSqlToken) {
  const sorted = changes.sorted();
  return sql.fragment`locked_holdings as materialized (
      select h.node_id
      from unnest(${int8Array(sorted.map((change) => change.nodeRowId))}) as asked (node_id)
      join node_registry.node_holdings h on h.node_id = asked.node_id
      where ${after}
      order by h.node_id
      for no key update of h
    ), changed_holdings as (
      update node_registry.node_holdings h
      set assigned_chunks = h.assigned_chunks + change.assigned_chunks,
        assigned_bytes = h.assigned_bytes + change.assigned_bytes,
        confirmed_chunks = h.confirmed_chunks + change.confirmed_chunks,
        confirmed_bytes = h.confirmed_bytes + change.confirmed_bytes,
        digest = mod(h.digest + change.digest, 18446744073709551616),
        digest_changed_at = case when change.digest = 0 then h.digest_changed_at else ${instant(now)} end,
        pending_deletions = h.pending_deletions + change.pending_deletions,
        deletion_changes = h.deletion_changes + (change.pending_deletions <> 0)::integer
      from unnest(
        ${int8Array(sorted.map((change) => change.nodeRowId))},
        ${int8Array(sorted.map((change) => change.assignedChunks))},
        ${int8Array(sorted.map((change) => change.assignedBytes))},
        ${int8Array(sorted.map((change) => change.confirmedChunks))},
        ${int8Array(sorted.map((change) => change.confirmedBytes))},
        ${textArray(sorted.map((change) => BigInt.asUintN(64, change.digest).toString()))}::numeric[],
        ${int8Array(sorted.map((change) => change.pendingDeletions))}
      ) as change (
        node_id, assigned_chunks, assigned_bytes, confirmed_chunks, confirmed_bytes, digest, pending_deletions)
      join locked_holdings on locked_holdings.node_id = change.node_id
      where h.node_id = change.node_id
      returning h.node_id, h.is_available, encode(h.walked_to, 'hex') as walked_to
    )`;
}

/**
 * Rows for nodes that have none, so that `changeHoldings` can be used. Locks those that exist, without writing them: a new
 * row is a lock too, and everybody takes these in one order.
 */
export async function ensureHoldings(tx: Transaction, changes: HoldingChanges): Promise<void> {
  await tx.query(sql.type(zVoid)`
    insert into node_registry.node_holdings as h (node_id)
    select asked.node_id
    from unnest(${int8Array(changes.sorted().map((change) => change.nodeRowId))}) as asked (node_id)
    order by asked.node_id
    on conflict (node_id) do update set assigned_chunks = h.assigned_chunks where false`);
}

/** Like `changeHoldings` for new assignments only; makes the row of a node that never had one. */
export async function addAssignments(tx: Transaction, changes: HoldingChanges): Promise<void> {
  const sorted = changes.sorted();
  if (sorted.length === 0) return;
  await tx.query(sql.type(zVoid)`
    insert into node_registry.node_holdings as h (node_id, assigned_chunks, assigned_bytes)
    select node_id, assigned_chunks, assigned_bytes
    from unnest(
      ${int8Array(sorted.map((change) => change.nodeRowId))},
      ${int8Array(sorted.map((change) => change.assignedChunks))},
      ${int8Array(sorted.map((change) => change.assignedBytes))}
    ) as added (node_id, assigned_chunks, assigned_bytes)
    order by node_id
    on conflict (node_id) do update
    set assigned_chunks = h.assigned_chunks + excluded.assigned_chunks,
      assigned_bytes = h.assigned_bytes + excluded.assigned_bytes`);
}

const zBusy = z.strictObject({
  node_id: zInt8,
  assigned_bytes: zInt8,
  pending_deletions: zInt8,
  deletion_changes: zInt8,
});
export type BusyNode = z.infer<typeof zBusy>;

/** Nodes with anything assigned or to delete. One pass over a narrow table (100,000 nodes: about 15 ms). */
export async function readBusyNodes(db: Connection) {
  return db.any(sql.type(zBusy)`
    select node_id, assigned_bytes, pending_deletions, deletion_changes
    from node_registry.node_holdings
    where assigned_bytes > 0 or pending_deletions > 0`);
}

/** Sets the running sum right unless it has changed since it was read; false then, and the next report tries again. */
export async function correctDigest(
  db: Connection,
  nodeRowId: bigint,
  { sum, runningSum }: { readonly sum: bigint; readonly runningSum: bigint },
  now: Temporal.Instant,
): Promise<boolean> {
  const { rowCount } = await db.query(sql.type(zVoid)`
    update node_registry.node_holdings
    set digest = ${sum.toString()}::numeric, digest_changed_at = ${instant(now)}
    where node_id = ${nodeRowId} and digest = ${runningSum.toString()}::numeric`);
  return rowCount > 0;
}

const zDigest = z.strictObject({
  node_id: zInt8,
  digest: z.string(),
  is_settled: z.boolean(),
  is_known_different: z.boolean(),
});

/** Digests by node; settled: unchanged since the given instant, so that nothing the node cannot know yet is in it. */
export async function readDigests(db: Connection, nodeRowIds: readonly bigint[], unchangedSince: Temporal.Instant) {
  return db.any(sql.type(zDigest)`
    select asked.node_id, coalesce(h.digest, 0)::text as digest,
      coalesce(h.digest_changed_at <= ${instant(unchangedSince)}, true) as is_settled,
      d.node_id is not null as is_known_different
    from unnest(${int8Array(nodeRowIds)}) as asked (node_id)
    left join node_registry.node_holdings h using (node_id)
    left join node_registry.digest_differences d using (node_id)`);
}

/** Keeps since when each node differs, and forgets those that agree again. */
export async function writeDigestDifferences(
  db: Connection,
  changes: {
    readonly differing: readonly bigint[];
    readonly agreeing: readonly bigint[];
    readonly now: Temporal.Instant;
  },
): Promise<void> {
  if (changes.differing.length + changes.agreeing.length === 0) return;
  await db.query(sql.type(zVoid)`
    with gone as (
      delete from node_registry.digest_differences where node_id = any(${int8Array(changes.agreeing)})
    )
    insert into node_registry.digest_differences (node_id, since)
    select node_id, ${instant(changes.now)}
    from unnest(${int8Array(changes.differing)}) as found (node_id)
    on conflict do nothing`);
}
