import { z } from "zod";
import type { Transaction } from "#platform/postgres/pool.ts";
import {
  byteaArray,
  instantArray,
  int4Array,
  int8Array,
  sql,
  textArray,
  zInt8,
  zVoid,
} from "#platform/postgres/sql.ts";
import type { NodeStateName } from "../directory/network-view.ts";
import { BYTES_PER_GB } from "../directory/node-record.ts";
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

/** The nodes of these keys by node_id, with their leases and rows locked, each in the order of row ids. */
export async function lockKnownNodes(
  tx: Transaction,
  nodeIds: readonly string[],
): Promise<ReadonlyMap<string, KnownNode>> {
  const keys = byteaArray(nodeIds.map((nodeId) => Buffer.from(nodeId, "hex")));
  const leases = await tx.any(sql.type(z.strictObject({ node_row_id: zInt8 }))`
    select l.node_row_id from node_registry.node_leases l
    where l.node_row_id = any(array(select n.id from node_registry.storage_nodes n where n.node_id = any(${keys})))
    order by l.node_row_id
    for update`);
  if (leases.length === 0) return new Map();
  const rows = await tx.any(sql.type(z.strictObject({ id: zInt8, node_id: z.string(), state: zNodeState }))`
    select id, encode(node_id, 'hex') as node_id, state from node_registry.storage_nodes
    where id = any(${int8Array(leases.map((lease) => lease.node_row_id))})
    order by id
    for update`);
  return new Map(rows.map((row) => [row.node_id, { rowId: row.id, state: row.state }]));
}

/**
 * Row ids by node_id; missing are those that another process has just enrolled. Sorted, so that two processes that get
 * the same keys wait for each other in one direction.
 */
export async function insertNodes(tx: Transaction, nodes: readonly Enrollment[]): Promise<ReadonlyMap<string, bigint>> {
  if (nodes.length === 0) return new Map();
  const rows = await tx.any(sql.type(z.strictObject({ id: zInt8, node_id: z.string() }))`
    with node as (
      insert into node_registry.storage_nodes (node_id, address_host, address_port, region, software_version,
        capacity_gb, is_on_probation, probation_until, certificate_expires_at, certificate_authority_id, event_version)
      select node_id, host, port, region, version, capacity_gb, probation_until > node_registry.lease_clock(),
        probation_until, expires_at, authority_id, 1
      from ${declared(nodes)}
      order by node_id
      on conflict on constraint storage_nodes__node_id_unique do nothing
      returning id, node_id
    ), lease as (
      insert into node_registry.node_leases (node_row_id) select id from node
    )
    select id, encode(node_id, 'hex') as node_id from node`);
  return new Map(rows.map((row) => [row.node_id, row.id]));
}

/**
 * Known keys enroll again: what they declare now counts, and of what they said is free no more than it; a deregistered
 * node is back. Leases and nodes are locked. Answers their event versions by node_id.
 */
export async function updateEnrolledNodes(
  tx: Transaction,
  nodes: readonly Enrollment[],
): Promise<ReadonlyMap<string, bigint>> {
  if (nodes.length === 0) return new Map();
  const rows = await tx.any(sql.type(z.strictObject({ node_id: z.string(), event_version: zInt8 }))`
    with again as (
      update node_registry.storage_nodes n set
        address_host = node.host, address_port = node.port, region = node.region, software_version = node.version,
        capacity_gb = node.capacity_gb, certificate_expires_at = node.expires_at,
        certificate_authority_id = node.authority_id,
        state = case when n.state = 'deregistered' then 'in_service' else n.state end,
        event_version = n.event_version + (n.state = 'deregistered')::int
      from ${declared(nodes)}
      where n.node_id = node.node_id
      returning n.id, n.node_id, n.event_version, n.capacity_gb * ${BYTES_PER_GB}::int8 as capacity_bytes
    ), clamped as (
      update node_registry.node_leases l set free_bytes = again.capacity_bytes, is_free_clamped = true
      from again
      where l.node_row_id = again.id and l.free_bytes > again.capacity_bytes
    )
    select encode(node_id, 'hex') as node_id, event_version from again`);
  return new Map(rows.map((row) => [row.node_id, row.event_version]));
}

/** What nodes declare about themselves, as rows. */
function declared(nodes: readonly Enrollment[]) {
  return sql.fragment`unnest(
    ${byteaArray(nodes.map((node) => Buffer.from(node.nodeId, "hex")))},
    ${textArray(nodes.map((node) => node.address.host))}, ${int4Array(nodes.map((node) => node.address.port))},
    ${textArray(nodes.map((node) => node.region))}, ${textArray(nodes.map((node) => node.softwareVersion))},
    ${int4Array(nodes.map((node) => node.capacityGb))}, ${instantArray(nodes.map((node) => node.probationUntil))},
    ${instantArray(nodes.map((node) => node.certificateExpiresAt))},
    ${int8Array(nodes.map((node) => node.certificateAuthorityId))}
  ) as node (node_id, host, port, region, version, capacity_gb, probation_until, expires_at, authority_id)`;
}

export interface EnrollmentStep {
  readonly rowId: bigint;
  readonly previous: NodeStateName | undefined;
  readonly state: NodeStateName;
  readonly evidence: string;
}

export async function insertEnrollmentHistory(tx: Transaction, steps: readonly EnrollmentStep[]): Promise<void> {
  if (steps.length === 0) return;
  await tx.query(sql.type(zVoid)`
    insert into node_registry.node_history (node_row_id, kind, previous_state, state, evidence, actor)
    select node_row_id, 'enrollment', previous, state, evidence, 'node'
    from unnest(
      ${int8Array(steps.map((step) => step.rowId))}, ${textArray(steps.map((step) => step.previous ?? null))},
      ${textArray(steps.map((step) => step.state))}, ${textArray(steps.map((step) => step.evidence))}
    ) as step (node_row_id, previous, state, evidence)`);
}

export interface RenewedCertificate {
  readonly rowId: bigint;
  readonly expiresAt: Temporal.Instant;
  readonly authorityId: bigint;
}

/** What the nodes hold now, so that they are not asked to renew before it is time. Each node once, sorted by row id. */
export async function updateCertificates(tx: Transaction, renewed: readonly RenewedCertificate[]): Promise<void> {
  const rowIds = int8Array(renewed.map((one) => one.rowId));
  await tx.query(sql.type(zVoid)`
    with locked as materialized (
      select id from node_registry.storage_nodes where id = any(${rowIds}) order by id for update
    )
    update node_registry.storage_nodes n
    set certificate_expires_at = renewed.expires_at, certificate_authority_id = renewed.authority_id
    from locked
    join unnest(
      ${rowIds}, ${instantArray(renewed.map((one) => one.expiresAt))},
      ${int8Array(renewed.map((one) => one.authorityId))}
    ) as renewed (node_row_id, expires_at, authority_id) on renewed.node_row_id = locked.id
    where n.id = locked.id`);
}
