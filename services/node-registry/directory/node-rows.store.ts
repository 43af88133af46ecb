import { z } from "zod";
import { sql, zInstant, zInt8 } from "#platform/postgres/sql.ts";
import { BYTES_PER_GB, type NodeRecord } from "./node-record.ts";

export const zNodeState = z.enum(["in_service", "draining", "maintenance", "disqualified", "deregistered"]);
export const zLiveness = z.enum(["never_seen", "online", "suspect", "offline"]);

const columns = {
  row_id: zInt8,
  node_id: z.string(),
  address_host: z.string(),
  address_port: z.int(),
  region: z.string(),
  software_version: z.string(),
  capacity_gb: z.int(),
  state: zNodeState,
  maintenance_until: zInstant.nullable(),
  is_active: z.boolean(),
  reputation_score: z.number(),
  is_on_probation: z.boolean(),
  certificate_expires_at: zInstant.nullable(),
  certificate_authority_id: zInt8.nullable(),
  revision: zInt8,
  created_at: zInstant,
  liveness: zLiveness,
  last_beat: zInstant.nullable(),
  used_bytes: zInt8,
  free_bytes: zInt8,
  chunk_count: zInt8,
  peer_network: z.string(),
  responsiveness: z.number(),
};

export const zNodeRow = z.strictObject(columns);
export type NodeRow = z.infer<typeof zNodeRow>;

/** Columns of `zNodeRow`; the query calls storage_nodes `n` and node_leases `l`. */
export const nodeColumns = sql.fragment`
  n.id as row_id, encode(n.node_id, 'hex') as node_id, n.address_host, n.address_port, n.region, n.software_version,
  n.capacity_gb, n.state, n.maintenance_until, n.is_active, n.reputation_score, n.is_on_probation,
  n.certificate_expires_at, n.certificate_authority_id, n.revision, n.created_at,
  l.liveness, l.last_beat, l.used_bytes, l.free_bytes, l.chunk_count,
  coalesce(l.peer_network::text, '') as peer_network, l.responsiveness`;

export function fromNodeRow(row: NodeRow): NodeRecord {
  return {
    rowId: row.row_id,
    nodeId: row.node_id,
    address: { host: row.address_host, port: row.address_port },
    region: row.region,
    softwareVersion: row.software_version,
    capacityGb: row.capacity_gb,
    capacityBytes: row.capacity_gb * BYTES_PER_GB,
    state: row.state,
    maintenanceUntil: row.maintenance_until,
    isActive: row.is_active,
    reputationScore: row.reputation_score,
    isOnProbation: row.is_on_probation,
    certificateExpiresAt: row.certificate_expires_at,
    certificateAuthorityId: row.certificate_authority_id,
    revision: row.revision,
    createdAt: row.created_at,
    liveness: row.liveness,
    lastHeartbeat: row.last_beat,
    // Bounded far below 2^53 by the request checks.
    usedBytes: Number(row.used_bytes),
    freeBytes: Number(row.free_bytes),
    chunkCount: Number(row.chunk_count),
    peerNetwork: row.peer_network,
    responsiveness: row.responsiveness,
  };
}
