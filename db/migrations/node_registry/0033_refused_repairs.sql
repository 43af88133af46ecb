-- Repair: a node that cannot fetch a chunk says so, and another one is chosen at once.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- When the node said that no source has the chunk; null while it tries.
alter table node_registry.chunk_repairs add column refused_at timestamptz;
