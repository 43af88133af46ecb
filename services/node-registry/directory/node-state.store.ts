import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { hexBytes, instant, sql, zInstant, zInt8, zVoid } from "#platform/postgres/sql.ts";
import type { NodeStateName } from "./network-view.ts";
import { zNodeState } from "./node-rows.store.ts";

const zLockedNode = z.strictObject({
  row_id: zInt8,
  node_id: z.string(),
  state: zNodeState,
  maintenance_until: zInstant.nullable(),
  reputation_score: z.number(),
});
export type LockedNode = z.infer<typeof zLockedNode>;

/** Lease first and then the node, as everywhere. Undefined where no node has this id. */
export async function lockNode(tx: Transaction, nodeId: string): Promise<LockedNode | undefined> {
  const lease = await tx.maybeOne(sql.type(z.strictObject({ node_row_id: zInt8 }))`
    select node_row_id from node_registry.node_leases
    where node_row_id = (select id from node_registry.storage_nodes where node_id = ${hexBytes(nodeId)})
    for update`);
  if (lease === null) return undefined;
  return tx.one(sql.type(zLockedNode)`
    select id as row_id, encode(node_id, 'hex') as node_id, state, maintenance_until, reputation_score
    from node_registry.storage_nodes where id = ${lease.node_row_id} for update`);
}

/** Answers the event version after `events` more. */
export async function writeState(
  tx: Transaction,
  node: LockedNode,
  change: {
    readonly state: NodeStateName;
    readonly maintenanceUntil: Temporal.Instant | null;
    readonly reason: string;
    readonly actor: string;
    readonly events: number;
  },
): Promise<bigint> {
  const until = change.maintenanceUntil === null ? sql.fragment`null` : instant(change.maintenanceUntil);
  const hasLeft = change.state === "deregistered";
  const row = await tx.one(sql.type(z.strictObject({ event_version: zInt8 }))`
    update node_registry.storage_nodes n set
      state = ${change.state}, maintenance_until = ${until}, state_reason = ${change.reason},
      is_active = ${change.state} = 'in_service' and l.liveness in ('online', 'suspect'),
      last_heartbeat = l.last_beat, event_version = n.event_version + ${change.events}
    from node_registry.node_leases l
    where n.id = ${node.row_id} and l.node_row_id = n.id
    returning n.event_version`);
  await tx.query(sql.type(zVoid)`
    insert into node_registry.node_history
      (node_row_id, kind, previous_state, state, previous_liveness, liveness, actor, reason)
    select node_row_id, 'state', ${node.state}, ${change.state}, liveness,
      case when ${hasLeft} then 'offline' else liveness end, ${change.actor}, ${change.reason}
    from node_registry.node_leases where node_row_id = ${node.row_id}`);
  // At once, or the sweep would call a node silent that has said goodbye.
  if (hasLeft) {
    await tx.query(sql.type(zVoid)`
      update node_registry.node_leases set liveness = 'offline', liveness_since = node_registry.lease_clock()
      where node_row_id = ${node.row_id}`);
  }
  return row.event_version;
}

/** node_ids of nodes whose maintenance has ended, a bounded number. */
export async function selectEndedMaintenance(db: Connection, now: Temporal.Instant): Promise<readonly string[]> {
  const rows = await db.any(sql.type(z.strictObject({ node_id: z.string() }))`
    select encode(node_id, 'hex') as node_id from node_registry.storage_nodes
    where maintenance_until <= ${instant(now)}
    order by maintenance_until
    limit 100`);
  return rows.map((row) => row.node_id);
}

/**
 * Nodes that are new no longer; what their score says from then on is reputation's affair. Answers the row ids of those
 * that changed.
 */
export async function endProbation(tx: Transaction, now: Temporal.Instant, probationBelow: number): Promise<bigint[]> {
  const rows = await tx.any(sql.type(z.strictObject({ id: zInt8, is_on_probation: z.boolean() }))`
    with ended as (
      select id from node_registry.storage_nodes
      where is_on_probation and probation_until <= ${instant(now)}
      order by id
      limit 500
      for update skip locked
    )
    update node_registry.storage_nodes n
    set probation_until = null, is_on_probation = n.reputation_score < ${probationBelow}
    from ended where n.id = ended.id
    returning n.id, n.is_on_probation`);
  return rows
    .filter((row) => !row.is_on_probation)
    .map((row) => row.id)
    .sort((a, b) => (a < b ? -1 : 1));
}

/** No probation lasts longer than one that begins now: what does was dated by a clock that was ahead. */
export async function shortenProbation(db: Connection, now: Temporal.Instant, probationMs: number): Promise<void> {
  const latest = now.add({ nanoseconds: Math.round(probationMs * 1e6) });
  await db.query(sql.type(zVoid)`
    update node_registry.storage_nodes set probation_until = ${instant(latest)}
    where is_on_probation and probation_until > ${instant(latest.add({ hours: 1 }))}`);
}

/** Drops what is older than a month, a bounded number at a time. Answers how many; 0 where nothing is left. */
export async function pruneNodeHistory(db: Connection): Promise<bigint> {
  return db.oneFirst(
    sql.type(z.strictObject({ dropped: zInt8 }))`select node_registry.prune_node_history() as dropped`,
  );
}
