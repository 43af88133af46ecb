import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import {
  instant,
  int4Array,
  int8Array,
  sql,
  uuidArray,
  zInstant,
  zInt8,
  zUuid,
  zVoid,
} from "#platform/postgres/sql.ts";
import { zHash } from "./hashes.ts";

export const zUploadState = z.enum(["reserving", "failed", "open", "completed", "expired"]);
export type UploadState = z.infer<typeof zUploadState>;

const zUpload = z.strictObject({
  upload_id: zUuid,
  user_id: zUuid,
  state: zUploadState,
  attempt: z.int(),
  fingerprint: zHash,
  replicas: z.int(),
  chunk_count: z.int(),
  reserved_bytes: zInt8,
  reservation_id: zUuid.nullable(),
  remaining_chunks: z.int(),
  charged_chunks: z.int(),
  charged_bytes: zInt8,
  created_at: zInstant,
  placed_at: zInstant.nullable(),
  expires_at: zInstant.nullable(),
  ended_at: zInstant.nullable(),
  event_version: zInt8,
});
export type UploadRow = z.infer<typeof zUpload>;

/** Before it is placed, and when that failed, an upload does not exist for clients. */
export function isPlaced(upload: UploadRow): boolean {
  return upload.state !== "reserving" && upload.state !== "failed";
}

const columns = sql.fragment`
  u.upload_id, u.user_id, u.state, u.attempt, encode(u.fingerprint, 'hex') as fingerprint, u.replicas, u.chunk_count,
  u.reserved_bytes, u.reservation_id, u.remaining_chunks, u.charged_chunks, u.charged_bytes, u.created_at, u.placed_at,
  u.expires_at, u.ended_at, u.event_version`;

export async function findUpload(db: Connection, uploadId: string): Promise<UploadRow | undefined> {
  const row = await db.maybeOne(sql.type(zUpload)`
    select ${columns} from node_registry.uploads u where u.upload_id = ${uploadId}::uuid`);
  return row ?? undefined;
}

export async function readUploads(db: Connection, uploadIds: readonly string[]): Promise<readonly UploadRow[]> {
  if (uploadIds.length === 0) return [];
  return db.any(sql.type(zUpload)`
    select ${columns} from node_registry.uploads u where u.upload_id = any(${uuidArray(uploadIds)}) order by u.upload_id`);
}

/** Sorted, locked until commit. Chunks must be locked before, except for an upload that is only being placed. */
export async function lockUploads(tx: Transaction, uploadIds: readonly string[]): Promise<UploadRow[]> {
  if (uploadIds.length === 0) return [];
  const rows = await tx.any(sql.type(zUpload)`
    select ${columns}
    from node_registry.uploads u
    where u.upload_id = any(${uuidArray(uploadIds)})
    order by u.upload_id
    for no key update`);
  return [...rows];
}

/** How the chunks and bytes change that are, or will be, charged to an upload's reservation. */
export interface ChargesChange {
  readonly chunks: number;
  readonly bytes: bigint;
}

/**
 * An OPEN upload no longer waits for chunks that were taken from it; for the bequeathed ones its reservation does. Answers
 * it where that completed it.
 */
export async function dropFromUpload(
  tx: Transaction,
  uploadId: string,
  { droppedChunks, bequeathed }: { readonly droppedChunks: number; readonly bequeathed: ChargesChange },
  now: Temporal.Instant,
): Promise<UploadRow | undefined> {
  const row = await tx.maybeOne(sql.type(zUpload)`
    update node_registry.uploads u
    set ${countedDown(now)}
    from (values (${droppedChunks}::int, ${bequeathed.chunks}::int, ${bequeathed.bytes}::bigint))
      as made (settled_chunks, charged_chunks, charged_bytes)
    where u.upload_id = ${uploadId}::uuid and u.state = 'open'
    returning ${columns}`);
  return row?.state === "completed" ? row : undefined;
}

/** What `made` (settled and charged chunks, charged bytes) changes about an OPEN upload: at 0 it is complete. */
export function countedDown(now: Temporal.Instant) {
  return sql.fragment`
    remaining_chunks = u.remaining_chunks - made.settled_chunks,
    charged_chunks = u.charged_chunks + made.charged_chunks,
    charged_bytes = u.charged_bytes + made.charged_bytes,
    state = case when u.remaining_chunks = made.settled_chunks then 'completed' else u.state end,
    ended_at = case when u.remaining_chunks = made.settled_chunks then ${instant(now)} else u.ended_at end,
    event_version = u.event_version + (u.remaining_chunks = made.settled_chunks)::int`;
}

const zId = z.strictObject({ upload_id: zUuid });

/** Uploads of the given states that are due, oldest first. */
export async function readDueUploads(
  db: Connection,
  states: readonly UploadState[],
  now: Temporal.Instant,
  limit: number,
): Promise<string[]> {
  const rows = await db.any(sql.type(zId)`
    select upload_id
    from node_registry.uploads
    where due_at <= ${instant(now)} and state = any(${sql.array([...states], "text")})
    order by due_at
    limit ${limit}`);
  return rows.map((row) => row.upload_id);
}

/** The end of an OPEN upload's time. Answers it as it is then; undefined where it was no longer OPEN. */
export async function expireUpload(
  tx: Transaction,
  uploadId: string,
  bequeathed: ChargesChange,
  now: Temporal.Instant,
): Promise<UploadRow | undefined> {
  const row = await tx.maybeOne(sql.type(zUpload)`
    update node_registry.uploads u
    set state = 'expired', ended_at = ${instant(now)}, due_at = null, event_version = u.event_version + 1,
      charged_chunks = u.charged_chunks + ${bequeathed.chunks}, charged_bytes = u.charged_bytes + ${bequeathed.bytes}
    where u.upload_id = ${uploadId}::uuid and u.state = 'open'
    returning ${columns}`);
  return row ?? undefined;
}

/**
 * Changes what is charged to the uploads' reservations, which must be locked. One that is over has told its numbers in an
 * event and counts another one. Answers them as they are then.
 */
export async function changeCharges(
  tx: Transaction,
  changes: readonly (ChargesChange & { readonly uploadId: string })[],
): Promise<readonly UploadRow[]> {
  if (changes.length === 0) return [];
  return tx.any(sql.type(zUpload)`
    update node_registry.uploads u
    set charged_chunks = u.charged_chunks + change.chunks, charged_bytes = u.charged_bytes + change.bytes,
      event_version = u.event_version + (u.state <> 'open')::int
    from unnest(
      ${uuidArray(changes.map((change) => change.uploadId))},
      ${int4Array(changes.map((change) => change.chunks))},
      ${int8Array(changes.map((change) => change.bytes))}
    ) as change (upload_id, chunks, bytes)
    where u.upload_id = change.upload_id
    returning ${columns}`);
}

/** After its 24 hours a completed upload has to be looked after only where its chunks still lack replicas. */
export async function settleUpload(
  tx: Transaction,
  uploadId: string,
  dueAt: Temporal.Instant | undefined,
): Promise<void> {
  await tx.query(sql.type(zVoid)`
    update node_registry.uploads
    set due_at = ${dueAt === undefined ? sql.fragment`null` : instant(dueAt)}
    where upload_id = ${uploadId}::uuid and state <> 'open'`);
}

/** With the end of an upload ends the memory of nodes that failed it. */
export async function forgetReplacedNodes(tx: Transaction, uploadId: string): Promise<void> {
  await tx.query(sql.type(zVoid)`
    delete from node_registry.replaced_nodes where upload_id = ${uploadId}::uuid`);
}

/** Uploads of a user in the order of their ids, from behind `after`. */
export async function readUploadsOfUser(
  db: Connection,
  userId: string,
  after: string,
  limit: number,
): Promise<{ uploadId: string; state: UploadState }[]> {
  const rows = await db.any(sql.type(zId.extend({ state: zUploadState }))`
    select upload_id, state
    from node_registry.uploads
    where user_id = ${userId}::uuid and upload_id > ${after}::uuid
    order by upload_id
    limit ${limit}`);
  return rows.map((row) => ({ uploadId: row.upload_id, state: row.state }));
}
