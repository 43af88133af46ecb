import { toBinary } from "@bufbuild/protobuf";
import { z } from "zod";
import { NodeSchema } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { byteaArray, int8Array, sql, zBytes, zInt8, zVoid } from "#platform/postgres/sql.ts";
import { type NodeRecord, toProtoNode } from "./node-record.ts";
import { selectNodeRecords } from "./nodes.store.ts";

/**
 * Numbers and logs a change of these nodes, as they are in this transaction, and returns them so. It takes the one row
 * lock that every change of the directory waits for: call it last, after all other work of the transaction.
 *
 * Lock order everywhere: leases by row id, storage_nodes by row id, directory_head.
 */
export async function recordNodeChanges(tx: Transaction, rowIds: readonly bigint[]): Promise<NodeRecord[]> {
  if (rowIds.length === 0) return [];
  const records = await selectNodeRecords(tx, rowIds);
  const rows = await tx.any(sql.type(z.strictObject({ id: zInt8, revision: zInt8 }))`
    with head as (
      update node_registry.directory_head set revision = revision + ${records.length}
      returning revision
    ), numbered as (
      select change.node_row_id, change.node_id, change.node,
        head.revision - ${records.length} + change.position as revision
      from head, unnest(
        ${int8Array(records.map((record) => record.rowId))},
        ${byteaArray(records.map((record) => Buffer.from(record.nodeId, "hex")))},
        ${byteaArray(records.map(payloadOf))}
      ) with ordinality as change (node_row_id, node_id, node, position)
    ), logged as (
      insert into node_registry.directory_changes (revision, node_row_id, node_id, node)
      select revision, node_row_id, node_id, nullif(node, '') from numbered
    )
    update node_registry.storage_nodes n set revision = numbered.revision
    from numbered
    where n.id = numbered.node_row_id
    returning n.id, n.revision`);
  const revisions = new Map(rows.map((row) => [row.id, row.revision]));
  return records.map((record) => ({ ...record, revision: revisions.get(record.rowId) ?? record.revision }));
}

/**
 * Empty for a node that is gone: slonik takes no nulls in arrays of bytea. The revision is not in it: it is drawn after
 * it was encoded, and stands beside it.
 */
function payloadOf(record: NodeRecord): Uint8Array {
  return record.state === "deregistered"
    ? new Uint8Array()
    : toBinary(NodeSchema, toProtoNode({ ...record, revision: 0n }));
}

const zChange = z.strictObject({ revision: zInt8, node_row_id: zInt8, node_id: z.string(), node: zBytes.nullable() });
export type ChangeRow = z.infer<typeof zChange>;

export async function selectChangesAfter(
  db: Connection,
  revision: bigint,
  limit: number,
): Promise<readonly ChangeRow[]> {
  return db.any(sql.type(zChange)`
    select revision, node_row_id, encode(node_id, 'hex') as node_id, node
    from node_registry.directory_changes
    where revision > ${revision}
    order by revision
    limit ${limit}`);
}

export async function selectDirectoryHead(db: Connection): Promise<{ revision: bigint; compacted_revision: bigint }> {
  return db.one(sql.type(z.strictObject({ revision: zInt8, compacted_revision: zInt8 }))`
    select revision, compacted_revision from node_registry.directory_head`);
}

/** Drops changes older than an hour or beyond the newest `keep`, a bounded number at a time. */
export async function compactChanges(tx: Transaction, keep: number, limit: number): Promise<number> {
  // In the order of revisions, so the last one is the highest.
  const dropped = await tx.any(sql.type(z.strictObject({ revision: zInt8 }))`
    with old as (
      select c.revision from node_registry.directory_changes c
      where c.revision <= (select revision - ${keep} from node_registry.directory_head)
        or c.changed_at < node_registry.lease_clock() - interval '1 hour'
      order by c.revision
      limit ${limit}
    ), gone as (
      delete from node_registry.directory_changes c using old where c.revision = old.revision
      returning c.revision
    )
    select revision from gone order by revision`);
  const highest = dropped.at(-1)?.revision;
  if (highest !== undefined) {
    await tx.query(sql.type(zVoid)`
      update node_registry.directory_head set compacted_revision = greatest(compacted_revision, ${highest})`);
  }
  return dropped.length;
}
