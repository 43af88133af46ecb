import { z } from "zod";
import type { Transaction } from "#platform/postgres/pool.ts";
import { hexBytes, instant, sql, zInt8, zVoid } from "#platform/postgres/sql.ts";
import type { NodeStateName } from "../directory/network-view.ts";
import { zNodeState } from "../directory/node-rows.store.ts";

export interface Enrollment {
  readonly nodeId: string;
  readonly address: { readonly host: string; readonly port: number };
  readonly region: string;
  readonly softwareVersion: string;
  readonly capacityGb: number;
  readonly certificateExpiresAt: Temporal.Instant;
  readonly certificateAuthorityId: bigint;
  readonly probationUntil: Temporal.Instant;
}

export interface KnownNode {
  readonly rowId: bigint;
  readonly state: NodeStateName;
}

/** The node of this key, with its lease and row locked. */
export async function lockKnownNode(tx: Transaction, nodeId: string): Promise<KnownNode | undefined> {
  const lease = await tx.maybeOne(sql.type(z.strictObject({ node_row_id: zInt8 }))`
    select node_row_id from node_registry.node_leases
    where node_row_id = (select id from node_registry.storage_nodes where node_id = ${hexBytes(nodeId)})
    for update`);
  if (lease === null) return undefined;
  const row = await tx.one(sql.type(z.strictObject({ state: zNodeState }))`
    select state from node_registry.storage_nodes where id = ${lease.node_row_id} for update`);
  return { rowId: lease.node_row_id, state: row.state };
}

/** Undefined where the same key has just been enrolled by another call. */
export async function insertNode(tx: Transaction, node: Enrollment): Promise<bigint | undefined> {
  const row = await tx.maybeOne(sql.type(z.strictObject({ id: zInt8 }))`
    with node as (
      insert into node_registry.storage_nodes (node_id, address_host, address_port, region, software_version,
        capacity_gb, is_on_probation, probation_until, certificate_expires_at, certificate_authority_id, event_version)
      values (${hexBytes(node.nodeId)}, ${node.address.host}, ${node.address.port}, ${node.region},
        ${node.softwareVersion}, ${node.capacityGb}, ${instant(node.probationUntil)} > node_registry.lease_clock(),
        ${instant(node.probationUntil)}, ${instant(node.certificateExpiresAt)}, ${node.certificateAuthorityId}, 1)
      on conflict on constraint storage_nodes__node_id_unique do nothing
      returning id
    ), lease as (
      insert into node_registry.node_leases (node_row_id) select id from node
    )
    select id from node`);
  return row?.id;
}

/** A known key enrolls again: what it declares now counts; a deregistered node is back. Answers its event version. */
export async function updateEnrolledNode(tx: Transaction, known: KnownNode, node: Enrollment): Promise<bigint> {
  const returns = known.state === "deregistered";
  const row = await tx.one(sql.type(z.strictObject({ event_version: zInt8 }))`
    update node_registry.storage_nodes n set
      address_host = ${node.address.host}, address_port = ${node.address.port}, region = ${node.region},
      software_version = ${node.softwareVersion}, capacity_gb = ${node.capacityGb},
      certificate_expires_at = ${instant(node.certificateExpiresAt)},
      certificate_authority_id = ${node.certificateAuthorityId},
      state = case when ${returns} then 'in_service' else n.state end,
      is_active = case when ${returns} then exists (
        select 1 from node_registry.node_leases l
        where l.node_row_id = n.id and l.liveness in ('online', 'suspect')) else n.is_active end,
      event_version = n.event_version + ${returns ? 1 : 0}
    where n.id = ${known.rowId}
    returning n.event_version`);
  return row.event_version;
}

export async function insertEnrollmentHistory(
  tx: Transaction,
  rowId: bigint,
  change: { readonly previous: NodeStateName | undefined; readonly state: NodeStateName; readonly evidence: string },
): Promise<void> {
  await tx.query(sql.type(zVoid)`
    insert into node_registry.node_history (node_row_id, kind, previous_state, state, evidence, actor)
    values (${rowId}, 'enrollment', ${change.previous ?? null}, ${change.state}, ${change.evidence}, 'node')`);
}

/** What the node holds now, so that it is not asked to renew before it is time. */
export async function updateCertificate(
  tx: Transaction,
  rowId: bigint,
  certificate: { readonly expiresAt: Temporal.Instant; readonly authorityId: bigint },
): Promise<void> {
  await tx.query(sql.type(zVoid)`
    update node_registry.storage_nodes
    set certificate_expires_at = ${instant(certificate.expiresAt)}, certificate_authority_id = ${certificate.authorityId}
    where id = ${rowId}`);
}
