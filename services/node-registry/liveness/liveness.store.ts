import { z } from "zod";
import type { Transaction } from "#platform/postgres/pool.ts";
import { int8Array, sql, textArray, zInt8, zVoid } from "#platform/postgres/sql.ts";
import type { LivenessChange } from "./liveness.ts";

/** Writes changes of nodes whose leases are locked, sorted by row id; answers each node's next event version. */
export async function writeLiveness(
  tx: Transaction,
  changes: readonly LivenessChange[],
): Promise<ReadonlyMap<bigint, bigint>> {
  const ids = int8Array(changes.map((change) => change.rowId));
  const livenesses = textArray(changes.map((change) => change.liveness));
  const rows = await tx.any(sql.type(z.strictObject({ id: zInt8, event_version: zInt8 }))`
    with change as (
      select * from unnest(${ids}, ${livenesses}) as change (node_row_id, liveness)
    ), leases as (
      update node_registry.node_leases l
      set liveness = change.liveness, liveness_since = node_registry.lease_clock()
      from change
      where l.node_row_id = change.node_row_id
      returning l.node_row_id, l.liveness, l.last_beat
    )
    update node_registry.storage_nodes n set
      is_active = n.state = 'in_service' and leases.liveness in ('online', 'suspect'),
      last_heartbeat = leases.last_beat,
      event_version = n.event_version + 1
    from leases
    where n.id = leases.node_row_id
    returning n.id, n.event_version`);
  await tx.query(sql.type(zVoid)`
    insert into node_registry.node_history
      (node_row_id, kind, previous_state, state, previous_liveness, liveness, liveness_cause, evidence)
    select n.id, 'liveness', n.state, n.state, change.previous, change.liveness, change.cause, change.evidence
    from unnest(
      ${ids}, ${textArray(changes.map((change) => change.previous))}, ${livenesses},
      ${textArray(changes.map((change) => change.cause))}, ${textArray(changes.map((change) => change.evidence))}
    ) as change (node_row_id, previous, liveness, cause, evidence)
    join node_registry.storage_nodes n on n.id = change.node_row_id`);
  return new Map(rows.map((row) => [row.id, row.event_version]));
}
