import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { hexBytesArray, int8Array, sql, zInt8, zVoid } from "#platform/postgres/sql.ts";
import type { Chunk } from "../chunks/chunks.store.ts";
import { insertDeletions, readPendingDeletions } from "../chunks/deletions.store.ts";
import { zHash } from "../chunks/hashes.ts";
import { changeHoldings, collectHoldingChanges, ensureHoldings } from "../chunks/holdings.store.ts";
import { deleteReplicas, insertReplicas, type Pair, type Replica, readReplicas } from "../chunks/replicas.store.ts";
import type { SoftRule } from "./draw.ts";
import type { Assignment } from "./place-upload.store.ts";
import type { Placement, PlaceRequest } from "./placer.ts";

export interface Exchange {
  readonly made: readonly Assignment[];
  readonly relaxed: ReadonlySet<SoftRule>;
}

/**
 * Takes unconfirmed assignments away and gives the chunks, which are locked, to other nodes; the old ones are told to
 * delete what they may have got. Where a node has confirmed, or is not assigned any more, nothing happens. Undefined,
 * and nothing written, where a chunk that has to get another node cannot.
 */
export async function exchangeAssignments(
  tx: Transaction,
  locked: readonly Chunk[],
  failed: readonly Pair[],
  terms: {
    readonly now: Temporal.Instant;
    readonly firstProofWithinMs: number;
    /** Nodes that failed a chunk before. */
    readonly barred: readonly Pair[];
    /** Where no node can be found the old assignment stays. */
    readonly isOptional: boolean;
    readonly place: (requests: readonly PlaceRequest[]) => Placement | undefined;
  },
): Promise<Exchange | undefined> {
  const hashes = locked.map((chunk) => chunk.chunkHash);
  const replicas = Map.groupBy(await readReplicas(tx, hashes), (replica) => replica.chunkHash);
  const barred = Map.groupBy([...(await readPendingDeletions(tx, hashes)), ...terms.barred, ...failed], toHash);
  const chunks = new Map(locked.map((chunk) => [chunk.chunkHash, chunk]));
  const going = failed.flatMap((pair) => {
    const replica = replicas.get(pair.chunkHash)?.find(({ nodeRowId }) => nodeRowId === pair.nodeRowId);
    return replica?.state === "assigned" && !replica.isRepair ? [replica] : [];
  });
  const byHash = Map.groupBy(going, toHash);
  const placement = terms.place(
    [...byHash].map(([chunkHash, gone]) => ({
      chunkHash,
      sizeBytes: chunks.get(chunkHash)?.sizeBytes ?? 0n,
      count: gone.length,
      holders: (replicas.get(chunkHash) ?? []).filter((replica) => !gone.includes(replica)).map(toRowId),
      barred: (barred.get(chunkHash) ?? []).map(toRowId),
      isOptional: terms.isOptional,
    })),
  );
  if (placement === undefined) return undefined;
  const made: Assignment[] = [];
  const exchanged: Replica[] = [];
  for (const [chunkHash, gone] of byHash) {
    const found = placement.nodes.get(chunkHash) ?? [];
    gone.slice(0, found.length).forEach((replica, index) => {
      const nodeRowId = found[index];
      if (nodeRowId === undefined) return;
      exchanged.push(replica);
      const sizeBytes = chunks.get(chunkHash)?.sizeBytes ?? 0n;
      made.push({ chunkHash, nodeRowId, blockIndex: replica.blockIndex, sizeBytes });
    });
  }
  await writeExchange(tx, { exchanged, made, chunks, terms });
  return { made, relaxed: placement.relaxed };
}

async function writeExchange(
  tx: Transaction,
  {
    exchanged,
    made,
    chunks,
    terms,
  }: {
    readonly exchanged: readonly Replica[];
    readonly made: readonly Assignment[];
    readonly chunks: ReadonlyMap<string, Chunk>;
    readonly terms: { readonly now: Temporal.Instant; readonly firstProofWithinMs: number };
  },
): Promise<void> {
  if (made.length === 0) return;
  const { now } = terms;
  await deleteReplicas(tx, exchanged);
  await insertDeletions(
    tx,
    exchanged.map(({ chunkHash, nodeRowId }) => ({ chunkHash, nodeRowId, cause: "not_placed" })),
    now,
  );
  await insertReplicas(tx, made, now, terms);
  const changes = collectHoldingChanges();
  for (const { chunkHash, nodeRowId } of exchanged) {
    const change = changes.of(nodeRowId);
    change.assignedChunks -= 1n;
    change.assignedBytes -= chunks.get(chunkHash)?.sizeBytes ?? 0n;
    change.pendingDeletions += 1n;
  }
  for (const { nodeRowId, sizeBytes } of made) {
    const change = changes.of(nodeRowId);
    change.assignedChunks += 1n;
    change.assignedBytes += sizeBytes;
  }
  await ensureHoldings(tx, changes);
  await changeHoldings(tx, changes, now);
}

function toHash({ chunkHash }: Pair): string {
  return chunkHash;
}

function toRowId({ nodeRowId }: Pair): bigint {
  return nodeRowId;
}

/** Remembers for the life of an upload which nodes failed its client. */
export async function insertReplacedNodes(tx: Transaction, uploadId: string, failed: readonly Pair[]): Promise<void> {
  await tx.query(sql.type(zVoid)`
    insert into node_registry.replaced_nodes (upload_id, chunk_hash, node_id)
    select ${uploadId}::uuid, chunk_hash, node_id
    from unnest(
      ${hexBytesArray(failed.map((pair) => pair.chunkHash))}, ${int8Array(failed.map((pair) => pair.nodeRowId))}
    ) as failed (chunk_hash, node_id)
    on conflict do nothing`);
}

const zPair = z.strictObject({ chunk_hash: zHash, node_id: zInt8 });

export async function readReplacedNodes(db: Connection, uploadId: string): Promise<Pair[]> {
  const rows = await db.any(sql.type(zPair)`
    select encode(chunk_hash, 'hex') as chunk_hash, node_id
    from node_registry.replaced_nodes
    where upload_id = ${uploadId}::uuid`);
  return rows.map(toPair);
}

/** The same for all uploads that use the chunks. */
export async function readReplacedNodesOf(db: Connection, hashes: readonly string[]): Promise<Pair[]> {
  const rows = await db.any(sql.type(zPair)`
    select encode(r.chunk_hash, 'hex') as chunk_hash, failed.node_id
    from unnest(${hexBytesArray(hashes)}) as asked (chunk_hash)
    join node_registry.upload_chunks r on r.chunk_hash = asked.chunk_hash
    join node_registry.replaced_nodes failed on failed.upload_id = r.upload_id and failed.chunk_hash = r.chunk_hash`);
  return rows.map(toPair);
}

function toPair(row: z.infer<typeof zPair>): Pair {
  return { chunkHash: row.chunk_hash, nodeRowId: row.node_id };
}

/** Unconfirmed assignments of a node for uploads that are still OPEN, in the order of their hashes. */
export async function readAwaitedOfNode(
  db: Connection,
  nodeRowId: bigint,
  after: string,
  limit: number,
): Promise<string[]> {
  const rows = await db.any(sql.type(z.strictObject({ chunk_hash: zHash }))`
    select encode(s.chunk_hash, 'hex') as chunk_hash
    from node_registry.chunk_storage s
    where s.node_id = ${nodeRowId} and s.chunk_hash > decode(${after}, 'hex')
      and s.stored_at is null and s.lost_at is null and not s.is_repair
      and exists (
        select from node_registry.upload_chunks r
        join node_registry.uploads u on u.upload_id = r.upload_id
        where r.chunk_hash = s.chunk_hash and u.state = 'open')
    order by s.chunk_hash
    limit ${limit}`);
  return rows.map((row) => row.chunk_hash);
}
