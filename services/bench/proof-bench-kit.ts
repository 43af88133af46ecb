import type pg from "pg";
import { LEAF_BYTES, leafCountOf } from "../node-registry/proofs/merkle.ts";
import { auditPath, leavesOf, treeHash } from "../node-registry/testing/merkle-tree.ts";

/**
 * So many confirmed replicas of chunks of 256 KiB with three replicas each, spread over the nodes, due over the next day
 * as they are on a network that has run for a while; those of the first `overdueNodes` nodes are due already. Indexes are
 * made afterwards and checkpoints put off: that is how 20 million rows get in within minutes.
 */
export async function seedReplicas(
  bare: pg.Client,
  { replicas, nodes, overdueNodes }: { replicas: number; nodes: number; overdueNodes: number },
): Promise<void> {
  await bare.query("alter system set max_wal_size = '32GB'");
  await bare.query("select pg_reload_conf()");
  await bare.query("set maintenance_work_mem = '1GB'");
  await bare.query(
    `alter table node_registry.chunks drop constraint chunks__pkey;
     drop index node_registry.chunk_storage__due, node_registry.chunk_storage__node;
     alter table node_registry.chunk_storage drop constraint chunk_storage__node_exists;
     alter table node_registry.chunk_storage drop constraint chunk_storage__chunk_node_unique`,
  );
  const chunks = Math.ceil(replicas / 3);
  const hash = "sha256(('proof ' || c)::bytea)";
  await bare.query(
    `insert into node_registry.chunks (chunk_hash, owner_id, size_bytes, wanted_replicas, confirmed_replicas,
       live_replicas, paying_upload_id, proof_root, created_at, quorum_at)
     select ${hash}, md5('owner')::uuid, 262144, 3, 3, 3, md5('upload')::uuid, sha256('root'), now(), now()
     from generate_series(1, $1::int) c`,
    [chunks],
  );
  await bare.query(
    `insert into node_registry.chunk_storage
       (chunk_hash, node_id, block_index, assigned_at, stored_at, verified_at, next_proof_at, proof_count)
     select chunk_hash, node, 0, now(), now(), now(),
       now() + random() * interval '24 hours' - case when node <= $3::bigint then interval '24 hours' else '0' end, 1
     from (select ${hash} as chunk_hash, c from generate_series(1, $1::int) c offset 0) as chunk
     cross join generate_series(0, 2) r
     cross join lateral (select 1 + (c * 7 + r * 3331) % $2::bigint) as spread (node)`,
    [chunks, nodes, overdueNodes],
  );
  await bare.query(
    `alter table node_registry.chunks add constraint chunks__pkey primary key (chunk_hash);
     alter table node_registry.chunk_storage add constraint chunk_storage__chunk_node_unique unique (chunk_hash, node_id);
     create index chunk_storage__due on node_registry.chunk_storage (node_id, next_proof_at);
     create index chunk_storage__node on node_registry.chunk_storage (node_id, chunk_hash)`,
  );
  await bare.query("vacuum analyze node_registry.chunks, node_registry.chunk_storage");
  await bare.query("alter system reset max_wal_size");
  await bare.query("select pg_reload_conf()");
  await bare.query("checkpoint");
}

/** A chunk's tree, made once, so that proofs of any leaf cost the prover nothing. */
export function createProver(chunk: Uint8Array) {
  const leaves = leavesOf(chunk);
  const proofs = leaves.map((leaf, index) => ({ leaf, path: auditPath(leaves, index) }));
  return { root: treeHash(leaves), proofs, leafCount: leafCountOf(chunk.length), leafBytes: LEAF_BYTES };
}
