import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { sql, zInstant, zInt8 } from "#platform/postgres/sql.ts";
import { zLiveness, zNodeState } from "../directory/node-rows.store.ts";

const zLease = z.strictObject({
  last_beat: zInstant.nullable(),
  sequence: zInt8,
  epoch: zInt8,
  holder: z.uuid().nullable(),
  peer_network: z.string(),
  is_free_clamped: z.boolean(),
});
export type LeaseRow = z.infer<typeof zLease>;

export async function selectLease(db: Connection, rowId: bigint): Promise<LeaseRow> {
  return db.one(sql.type(zLease)`
    select last_beat, sequence, epoch, holder, coalesce(peer_network::text, '') as peer_network, is_free_clamped
    from node_registry.node_leases where node_row_id = ${rowId}`);
}

const zTransition = z.strictObject({
  kind: z.enum(["enrollment", "state", "liveness"]),
  occurred_at: zInstant,
  previous_state: zNodeState.nullable(),
  state: zNodeState.nullable(),
  previous_liveness: zLiveness.nullable(),
  liveness: zLiveness.nullable(),
  liveness_cause: z.enum(["first_heartbeat", "heartbeat_resumed", "heartbeats_missed", "lease_expired"]).nullable(),
  evidence: z.string(),
  actor: z.string(),
  reason: z.string(),
});
export type TransitionRow = z.infer<typeof zTransition>;

export async function selectTransitions(db: Connection, rowId: bigint): Promise<readonly TransitionRow[]> {
  return db.any(sql.type(zTransition)`
    select kind, occurred_at, previous_state, state, previous_liveness, liveness, liveness_cause, evidence, actor, reason
    from node_registry.node_history
    where node_row_id = ${rowId} and kind in ('enrollment', 'state', 'liveness')
    order by id desc
    limit 50`);
}
