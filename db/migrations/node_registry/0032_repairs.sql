-- Repair: new replicas that nodes were told to fetch from other nodes.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- A repair ends with its assignment: confirmed, released, or given up at the deadline so that another node is chosen.
create table node_registry.chunk_repairs (
  chunk_hash node_registry.sha256 not null,
  -- The node that fetches.
  node_id bigint not null,
  command_id uuid not null,
  generation integer not null,
  size_bytes bigint not null,
  started_at timestamptz not null,
  deadline timestamptz not null,
  constraint chunk_repairs__pkey primary key (chunk_hash, node_id),
  constraint chunk_repairs__node_exists foreign key (node_id) references node_registry.storage_nodes (id)
) with (autovacuum_vacuum_scale_factor = 0.05);
create index chunk_repairs__node on node_registry.chunk_repairs (node_id);
create index chunk_repairs__deadline on node_registry.chunk_repairs (deadline);

-- Chunks that could not be repaired at the moment (no live source, no target, a fetch that came to nothing): when to
-- look again. Without it the most urgent would be the hopeless ones, and nothing after them would ever be reached.
create table node_registry.repair_pauses (
  chunk_hash node_registry.sha256 not null,
  failures integer not null,
  until timestamptz not null,
  constraint repair_pauses__pkey primary key (chunk_hash)
);

grant select, insert, update, delete on node_registry.chunk_repairs, node_registry.repair_pauses
  to node_registry_app;
