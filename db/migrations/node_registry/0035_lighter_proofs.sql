-- Proofs: what a challenge costs PostgreSQL.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- A row lives for seconds, and nothing is lost with it: after a crash of the server the replica is still due, the strike
-- of a retry is kept elsewhere, and the node is asked anew. So challenges are not written to the log of the database.
alter table node_registry.proof_challenges set unlogged;
-- Nodes are never deleted, so the key proved nothing and locked the node's row once per challenge.
alter table node_registry.proof_challenges drop constraint proof_challenges__node_exists;
-- One index for both: the open ones of a node, and one at a time per replica.
alter table node_registry.proof_challenges drop constraint proof_challenges__one_per_replica;
-- squawk-ignore require-concurrent-index-deletion
drop index node_registry.proof_challenges__node;
-- squawk-ignore disallowed-unique-constraint, constraint-missing-not-valid
alter table node_registry.proof_challenges add constraint proof_challenges__one_per_replica unique (node_id, chunk_hash);
