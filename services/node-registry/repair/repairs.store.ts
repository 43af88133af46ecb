import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import {
  hexBytesArray,
  instant,
  instantArray,
  int4Array,
  int8Array,
  sql,
  uuidArray,
  zInstant,
  zInt8,
  zUuid,
  zVoid,
} from "#platform/postgres/sql.ts";
import { zHash } from "../chunks/hashes.ts";
import type { Pair } from "../chunks/replicas.store.ts";
import type { Silence } from "./together.ts";

export interface Repair extends Pair {
  readonly commandId: string;
  readonly generation: number;
  readonly sizeBytes: bigint;
  readonly deadline: Temporal.Instant;
}

export async function insertRepairs(tx: Transaction, repairs: readonly Repair[], now: Temporal.Instant): Promise<void> {
  if (repairs.length === 0) return;
  await tx.query(sql.type(zVoid)`
    insert into node_registry.chunk_repairs
      (chunk_hash, node_id, command_id, generation, size_bytes, deadline, started_at)
    select *, ${instant(now)}
    from unnest(
      ${hexBytesArray(repairs.map((repair) => repair.chunkHash))},
      ${int8Array(repairs.map((repair) => repair.nodeRowId))},
      ${uuidArray(repairs.map((repair) => repair.commandId))},
      ${int4Array(repairs.map((repair) => repair.generation))},
      ${int8Array(repairs.map((repair) => repair.sizeBytes))},
      ${instantArray(repairs.map((repair) => repair.deadline))}
    )
    on conflict (chunk_hash, node_id) do update
    set command_id = excluded.command_id, generation = excluded.generation, size_bytes = excluded.size_bytes,
      deadline = excluded.deadline, started_at = excluded.started_at, refused_at = null`);
}

/** The nodes have said that they cannot get the chunks. The chunks must be locked. */
export async function refuseRepairs(tx: Transaction, pairs: readonly Pair[], now: Temporal.Instant): Promise<void> {
  if (pairs.length === 0) return;
  await tx.query(sql.type(zVoid)`
    update node_registry.chunk_repairs r set refused_at = ${instant(now)}
    from unnest(
      ${hexBytesArray(pairs.map((pair) => pair.chunkHash))}, ${int8Array(pairs.map((pair) => pair.nodeRowId))}
    ) as refused (chunk_hash, node_id)
    where r.chunk_hash = refused.chunk_hash and r.node_id = refused.node_id and r.refused_at is null`);
}

/**
 * Answers the ids of those that were still there: of a planner that was deposed in the middle of its round another one may
 * have ended them, and begun new ones of the same chunks on the same nodes.
 */
export async function deleteRepairs(tx: Connection, repairs: readonly Repair[]): Promise<ReadonlySet<string>> {
  if (repairs.length === 0) return new Set();
  const rows = await tx.any(sql.type(z.strictObject({ command_id: zUuid }))`
    delete from node_registry.chunk_repairs r
    using unnest(
      ${hexBytesArray(repairs.map((repair) => repair.chunkHash))}, ${int8Array(repairs.map((repair) => repair.nodeRowId))},
      ${uuidArray(repairs.map((repair) => repair.commandId))}
    ) as ended (chunk_hash, node_id, command_id)
    where r.chunk_hash = ended.chunk_hash and r.node_id = ended.node_id and r.command_id = ended.command_id
    returning r.command_id`);
  return new Set(rows.map((row) => row.command_id));
}

const zOpen = z.strictObject({
  chunk_hash: zHash,
  node_id: zInt8,
  command_id: zUuid,
  generation: z.int(),
  size_bytes: zInt8,
  deadline: zInstant,
  is_refused: z.boolean(),
  state: z.enum(["assigned", "confirmed", "gone"]),
  holders: z.array(zInt8),
});

export interface OpenRepair extends Repair {
  /** Of the assignment that it works for. */
  readonly state: "assigned" | "confirmed" | "gone";
  /** Whether the node has said that it cannot get the chunk. */
  readonly isRefused: boolean;
  /** Nodes with a confirmed replica. */
  readonly holders: readonly bigint[];
}

/**
 * All that are under way: a bounded number, so every process reads them anew once a second. A join with chunks or
 * replicas the planner would make by reading all of them, because the table of repairs is too young to have statistics
 * (75,000 chunks and no repair: 21 ms).
 */
export async function readRepairs(db: Connection): Promise<OpenRepair[]> {
  const rows = await db.any(sql.type(zOpen)`
    select encode(r.chunk_hash, 'hex') as chunk_hash, r.node_id, r.command_id, r.generation, r.size_bytes, r.deadline,
      r.refused_at is not null as is_refused,
      case when s.chunk_hash is null or c.generation <> r.generation or s.lost_at is not null then 'gone'
        when s.stored_at is null then 'assigned' else 'confirmed' end as state,
      array(
        select h.node_id from node_registry.chunk_storage h
        where h.chunk_hash = r.chunk_hash and h.stored_at is not null and h.node_id <> r.node_id
      ) as holders
    from node_registry.chunk_repairs r
    cross join lateral (
      select generation from node_registry.chunks where chunk_hash = r.chunk_hash offset 0
    ) as c
    left join lateral (
      select * from node_registry.chunk_storage where chunk_hash = r.chunk_hash and node_id = r.node_id offset 0
    ) as s on true
    order by r.command_id`);
  return rows.map((row) => ({
    chunkHash: row.chunk_hash,
    nodeRowId: row.node_id,
    commandId: row.command_id,
    generation: row.generation,
    sizeBytes: row.size_bytes,
    deadline: row.deadline,
    state: row.state,
    isRefused: row.is_refused,
    holders: row.holders,
  }));
}

/** Of the chunks, those that are not to be looked at before later, with the failures so far of all. */
export async function readPauses(
  db: Connection,
  hashes: readonly string[],
): Promise<ReadonlyMap<string, { readonly failures: number; readonly until: Temporal.Instant }>> {
  const rows = await db.any(sql.type(z.strictObject({ chunk_hash: zHash, failures: z.int(), until: zInstant }))`
    select encode(p.chunk_hash, 'hex') as chunk_hash, p.failures, p.until
    from unnest(${hexBytesArray(hashes)}) as asked (chunk_hash)
    join node_registry.repair_pauses p on p.chunk_hash = asked.chunk_hash`);
  return new Map(rows.map((row) => [row.chunk_hash, { failures: row.failures, until: row.until }]));
}

export async function savePauses(
  db: Connection,
  pauses: readonly { readonly chunkHash: string; readonly failures: number; readonly until: Temporal.Instant }[],
): Promise<void> {
  if (pauses.length === 0) return;
  await db.query(sql.type(zVoid)`
    insert into node_registry.repair_pauses (chunk_hash, failures, until)
    select distinct on (chunk_hash) chunk_hash, failures, until
    from unnest(
      ${hexBytesArray(pauses.map((pause) => pause.chunkHash))},
      ${int4Array(pauses.map((pause) => pause.failures))},
      ${instantArray(pauses.map((pause) => pause.until))}
    ) as pause (chunk_hash, failures, until)
    order by chunk_hash
    on conflict (chunk_hash) do update set failures = excluded.failures, until = excluded.until`);
}

/** Pauses of chunks that were repaired, or that nobody has asked about for a day. */
export async function deletePauses(db: Connection, hashes: readonly string[], before: Temporal.Instant): Promise<void> {
  await db.query(sql.type(zVoid)`
    delete from node_registry.repair_pauses
    where chunk_hash = any(${hexBytesArray(hashes)}) or until < ${instant(before)}`);
}

const zReplica = z.strictObject({ chunk_hash: zHash });

/** The next replicas of a node that still count, in the order of their hashes, after the given one. */
export async function readConfirmedOfNode(
  db: Connection,
  nodeRowId: bigint,
  limit: number,
  after = "",
): Promise<string[]> {
  const rows = await db.any(sql.type(zReplica)`
    select encode(s.chunk_hash, 'hex') as chunk_hash
    from node_registry.chunk_storage s
    where s.node_id = ${nodeRowId} and s.stored_at is not null and s.chunk_hash > decode(${after}, 'hex')
    order by s.chunk_hash
    limit ${limit}`);
  return rows.map((row) => row.chunk_hash);
}

/** Nobody else changes or claims these replicas until the transaction ends. The chunks must be locked. */
export async function lockReplicas(tx: Transaction, pairs: readonly Pair[]): Promise<void> {
  await tx.query(sql.type(zVoid)`
    select
    from (
      select * from unnest(
        ${hexBytesArray(pairs.map((pair) => pair.chunkHash))}, ${int8Array(pairs.map((pair) => pair.nodeRowId))}
      ) as asked (chunk_hash, node_id)
      order by chunk_hash, node_id
    ) as sorted
    cross join lateral (
      select from node_registry.chunk_storage s
      where s.chunk_hash = sorted.chunk_hash and s.node_id = sorted.node_id
      for update
    ) as locked`);
}

const zGone = z.strictObject({
  node_id: zInt8,
  node_hash: zHash,
  state: z.enum(["in_service", "draining", "maintenance", "disqualified", "deregistered"]),
  liveness_since: zInstant,
});

export interface Departed {
  readonly nodeRowId: bigint;
  readonly nodeId: string;
  readonly state: string;
  readonly livenessSinceMs: number;
}

/** Nodes whose replicas are to count as lost and do not yet: shut out, gone, or offline for so long. */
export async function findDeparted(db: Connection, offlineMs: number): Promise<readonly Departed[]> {
  const rows = await db.any(sql.type(zGone)`
    select n.id as node_id, encode(n.node_id, 'hex') as node_hash, n.state, l.liveness_since
    from node_registry.node_holdings h
    join node_registry.storage_nodes n on n.id = h.node_id
    join node_registry.node_leases l on l.node_row_id = n.id
    where h.confirmed_chunks > 0 and (
      n.state in ('disqualified', 'deregistered')
      or (n.state in ('in_service', 'draining') and l.liveness = 'offline'
        and l.liveness_since < node_registry.lease_clock() - ${offlineMs} * interval '1 millisecond'))
    order by n.id`);
  return rows.map((row) => ({
    nodeRowId: row.node_id,
    nodeId: row.node_hash,
    state: row.state,
    livenessSinceMs: row.liveness_since.epochMilliseconds,
  }));
}

const zSilence = z.strictObject({ heard: z.int(), silent_since_ms: z.array(zInt8) });

/** Of the nodes that are to serve. One pass over all of them: only for the moment when one is to be counted out. */
export async function readSilence(db: Connection): Promise<Silence> {
  const row = await db.one(sql.type(zSilence)`
    select count(*) filter (where l.liveness in ('online', 'suspect'))::integer as heard,
      coalesce(
        array_agg(floor(extract(epoch from l.liveness_since) * 1000)::bigint order by l.liveness_since)
          filter (where l.liveness = 'offline'), '{}') as silent_since_ms
    from node_registry.storage_nodes n
    join node_registry.node_leases l on l.node_row_id = n.id
    where n.state in ('in_service', 'draining')`);
  return { heard: row.heard, silentSinceMs: row.silent_since_ms.map(Number) };
}
