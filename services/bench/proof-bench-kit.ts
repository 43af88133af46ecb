import type pg from "pg";
import { LEAF_BYTES, leafCountOf } from "../node-registry/proofs/merkle.ts";
import { auditPath, leavesOf, treeHash } from "../node-registry/testing/merkle-tree.ts";

/**
 * So many confirmed replicas of chunks of 256 KiB with three replicas each, spread over the nodes, due over the next day
 * as they are on a network that has run for a while. Indexes are made afterwards: that is how fast 20 million rows get in.
 */
export async function seedReplicas(bare: pg.Client, replicas: number, nodes: number): Promise<void> {
  const chunks = Math.ceil(replicas / 3);
  const hash = "sha256(('proof ' || c)::bytea)";
  await bare.query(
    `insert into node_registry.chunks (chunk_hash, owner_id, size_bytes, wanted_replicas, confirmed_replicas,
       live_replicas, paying_upload_id, proof_root, created_at, quorum_at)
     select ${hash}, md5('owner')::uuid, 262144, 3, 3, 3, md5('upload')::uuid, sha256('root'), now(), now()
     from generate_series(1, $1::int) c`,
    [chunks],
  );
  await bare.query("drop index node_registry.chunk_storage__due; drop index node_registry.chunk_storage__node");
  await bare.query("alter table node_registry.chunk_storage drop constraint chunk_storage__node_exists");
  await bare.query(
    `insert into node_registry.chunk_storage
       (chunk_hash, node_id, block_index, assigned_at, stored_at, verified_at, next_proof_at, proof_count)
     select ${hash}, 1 + (c * 7 + r * 3331) % $2::bigint, 0, now(), now(), now(), now() + random() * interval '24 hours', 1
     from generate_series(1, $1::int) c cross join generate_series(0, 2) r`,
    [chunks, nodes],
  );
  await bare.query(
    "create index chunk_storage__due on node_registry.chunk_storage (node_id, next_proof_at);" +
      "create index chunk_storage__node on node_registry.chunk_storage (node_id, chunk_hash)",
  );
  await bare.query("vacuum analyze node_registry.chunks, node_registry.chunk_storage");
  await bare.query("checkpoint");
}

/** A chunk's tree, made once, so that proofs of any leaf cost the prover nothing. */
export function createProver(chunk: Uint8Array) {
  const leaves = leavesOf(chunk);
  const proofs = leaves.map((leaf, index) => ({ leaf, path: auditPath(leaves, index) }));
  return { root: treeHash(leaves), proofs, leafCount: leafCountOf(chunk.length), leafBytes: LEAF_BYTES };
}
