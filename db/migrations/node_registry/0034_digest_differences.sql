-- Since when what a node says it holds differs from what the registry knows, for whoever asks whichever process.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- Only nodes that differ have a row: a heartbeat that agrees writes nothing.
create table node_registry.digest_differences (
  node_id bigint not null,
  since timestamptz not null,
  constraint digest_differences__pkey primary key (node_id),
  constraint digest_differences__node_exists foreign key (node_id) references node_registry.storage_nodes (id)
);
grant select, insert, delete on node_registry.digest_differences to node_registry_app;
