-- Challenges: what a node was asked to prove, what it answered, and what has to be asked again.
--
-- Lock order, before everything of 0003: proof_challenges by command_id; then chunks and what follows them there; then
-- node_reputations, storage_nodes and directory_head. Proof columns of chunk_storage (verified_at, next_proof_at,
-- proof_count) change without the chunk's lock, under the replica's own row lock: they say nothing about the chunk.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- A replica is due from its assignment on, some time within the hour and no burst: set here and not at confirmation,
-- so that a confirmation touches no index and stays HOT. What is due but not confirmed is put off.
alter table node_registry.chunk_storage
  alter column next_proof_at set default now() + random() * interval '1 hour';
-- The due-index: by node, because a challenge waits for its node's heartbeat anyway. Asking for the first few of a node
-- costs the same with 200,000 and with 20 million replicas.
-- squawk-ignore require-concurrent-index-creation
create index chunk_storage__due on node_registry.chunk_storage (node_id, next_proof_at);

-- The open ones only: a few per node. Everything that the verdict needs, as it was when the node was asked.
create table node_registry.proof_challenges (
  -- UUIDv7.
  command_id uuid not null,
  chunk_hash node_registry.sha256 not null,
  node_id bigint not null,
  generation integer not null,
  size_bytes bigint not null,
  proof_root node_registry.sha256,
  -- Null: the whole chunk.
  leaf_index integer,
  nonce bytea not null,
  is_retry boolean not null,
  issued_at timestamptz not null,
  constraint proof_challenges__pkey primary key (command_id),
  -- Several processes may look at the same node: a replica is asked for once at a time.
  constraint proof_challenges__one_per_replica unique (chunk_hash, node_id),
  constraint proof_challenges__node_exists foreign key (node_id) references node_registry.storage_nodes (id),
  constraint proof_challenges__nonce_length check (octet_length(nonce) = 32),
  constraint proof_challenges__leaf_has_root check (leaf_index is null or (leaf_index >= 0 and proof_root is not null))
) with (autovacuum_vacuum_scale_factor = 0.05);
create index proof_challenges__node on node_registry.proof_challenges (node_id);

-- What was decided lately: a repeated answer gets the first one's verdict, and successes wait here until they are
-- counted, many at a time, in the node's reputation. Rows go after some minutes.
create table node_registry.proof_verdicts (
  command_id uuid not null,
  node_id bigint not null,
  outcome text not null,
  decided_at timestamptz not null,
  constraint proof_verdicts__pkey primary key (command_id),
  constraint proof_verdicts__outcome_known check (outcome in ('proved', 'not_held', 'invalid', 'timed_out'))
) with (autovacuum_vacuum_scale_factor = 0.05);

-- Replicas with one miss or wrong answer. The next challenge is the retry; a second failure counts, a success clears it.
create table node_registry.proof_strikes (
  chunk_hash node_registry.sha256 not null,
  node_id bigint not null,
  generation integer not null,
  failure text not null,
  struck_at timestamptz not null,
  constraint proof_strikes__pkey primary key (chunk_hash, node_id),
  constraint proof_strikes__failure_known check (failure in ('invalid', 'timed_out'))
);

-- Roots that a node could not match although it then showed the whole chunk: the client gave a false one, so chunks of
-- that life are asked for whole.
create table node_registry.doubted_proof_roots (
  chunk_hash node_registry.sha256 not null,
  generation integer not null,
  doubted_at timestamptz not null,
  constraint doubted_proof_roots__pkey primary key (chunk_hash)
);

grant select, insert, delete on node_registry.proof_challenges, node_registry.proof_verdicts to node_registry_app;
-- For row locks.
grant update on node_registry.proof_challenges, node_registry.proof_verdicts to node_registry_app;
grant select, insert, update, delete on node_registry.proof_strikes, node_registry.doubted_proof_roots
  to node_registry_app;
