import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { hexBytesArray, int4Array, sql, zInt8, zUuid, zVoid } from "#platform/postgres/sql.ts";
import { zHash } from "./hashes.ts";

export interface Reference {
  readonly chunkHash: string;
  readonly blockIndex: number;
}

export async function insertReferences(
  tx: Transaction,
  uploadId: string,
  references: readonly Reference[],
): Promise<void> {
  await tx.query(sql.type(zVoid)`
    insert into node_registry.upload_chunks (upload_id, chunk_hash, block_index)
    select ${uploadId}::uuid, chunk_hash, block_index
    from unnest(
      ${hexBytesArray(references.map((reference) => reference.chunkHash))},
      ${int4Array(references.map((reference) => reference.blockIndex))}
    ) as placed (chunk_hash, block_index)`);
}

const zReference = z.strictObject({ chunk_hash: zHash, block_index: z.int() });

/** The chunks that an upload still uses. */
export async function readReferences(db: Connection, uploadId: string): Promise<Reference[]> {
  const rows = await db.any(sql.type(zReference)`
    select encode(chunk_hash, 'hex') as chunk_hash, block_index
    from node_registry.upload_chunks
    where upload_id = ${uploadId}::uuid
    order by block_index, chunk_hash`);
  return rows.map((row) => ({ chunkHash: row.chunk_hash, blockIndex: row.block_index }));
}

/** Drops references; the chunks must be locked. Answers the hashes whose reference was there. */
export async function deleteReferences(
  tx: Transaction,
  uploadId: string,
  hashes: readonly string[],
): Promise<string[]> {
  const rows = await tx.any(sql.type(z.strictObject({ chunk_hash: zHash }))`
    delete from node_registry.upload_chunks
    where upload_id = ${uploadId}::uuid and chunk_hash = any(${hexBytesArray(hashes)})
    returning encode(chunk_hash, 'hex') as chunk_hash`);
  return rows.map((row) => row.chunk_hash);
}

const zUse = z.strictObject({ chunk_hash: zHash, upload_id: zUuid, is_open: z.boolean() });

/** Which uploads use the chunks, OPEN ones first, the earliest placed first. */
export async function readUses(db: Connection, hashes: readonly string[]) {
  const rows = await db.any(sql.type(zUse)`
    select encode(r.chunk_hash, 'hex') as chunk_hash, r.upload_id, u.state = 'open' as is_open
    from unnest(${hexBytesArray(hashes)}) as asked (chunk_hash)
    join node_registry.upload_chunks r on r.chunk_hash = asked.chunk_hash
    join node_registry.uploads u on u.upload_id = r.upload_id
    order by u.state = 'open' desc, u.placed_at, r.upload_id`);
  return rows.map((row) => ({ chunkHash: row.chunk_hash, uploadId: row.upload_id, isOpen: row.is_open }));
}

export type UploadChunkRow = z.infer<typeof zUploadChunk>;
const zUploadChunk = z.strictObject({
  chunk_hash: zHash,
  block_index: z.int(),
  size_bytes: zInt8,
  generation: z.int(),
  assigned_replicas: zInt8,
  confirmed_replicas: z.int(),
  has_quorum: z.boolean(),
});

/** The chunks of an upload with how far each is. */
export async function readUploadChunks(db: Connection, uploadId: string) {
  return db.any(sql.type(zUploadChunk)`
    select encode(r.chunk_hash, 'hex') as chunk_hash, r.block_index, c.size_bytes, c.generation,
      (select count(*) from node_registry.chunk_storage s
        where s.chunk_hash = r.chunk_hash and s.lost_at is null) as assigned_replicas,
      c.confirmed_replicas, c.quorum_at is not null as has_quorum
    from node_registry.upload_chunks r
    join node_registry.chunks c on c.chunk_hash = r.chunk_hash
    where r.upload_id = ${uploadId}::uuid
    order by r.block_index, r.chunk_hash`);
}
