-- Storage nodes: who they are, when they were last heard, and the numbered log of everything that changed about them.
set lock_timeout = '5s';
set statement_timeout = '60s';

-- The clock that leases are compared with: one for all registry processes, whatever their own clocks say.
create function node_registry.lease_clock() returns timestamptz
  language sql volatile parallel safe
  as $$ select clock_timestamp() $$;

-- The wide row: written at enrollment and when something about the node changes, never by a plain heartbeat.
create table node_registry.storage_nodes (
  id bigint generated always as identity,
  node_id node_registry.sha256 not null,
  address_host text not null,
  address_port integer not null,
  region text not null default '',
  software_version text not null default '',
  capacity_gb integer not null,
  state text not null default 'in_service',
  state_reason text not null default '',
  maintenance_until timestamptz,
  -- Both as of the last change of state or liveness; node_leases has the exact beat (view current_storage_nodes).
  is_active boolean not null default false,
  last_heartbeat timestamptz,
  reputation_score double precision not null default 1.0,
  reputation_reset_at timestamptz,
  reputation_reset_reason text,
  is_on_probation boolean not null default true,
  probation_until timestamptz,
  certificate_expires_at timestamptz,
  certificate_authority_id bigint,
  revision bigint not null default 0,
  event_version bigint not null default 0,
  created_at timestamptz not null default now(),
  constraint storage_nodes__pkey primary key (id),
  constraint storage_nodes__node_id_unique unique (node_id),
  constraint storage_nodes__port_range check (address_port between 1 and 65535),
  constraint storage_nodes__host_length check (length(address_host) between 1 and 253),
  constraint storage_nodes__region_length check (length(region) <= 64),
  constraint storage_nodes__software_version_length check (length(software_version) <= 64),
  -- Up to 1 PiB: more than a single node can mean, and bytes stay exact in a double.
  constraint storage_nodes__capacity_range check (capacity_gb between 1 and 1048576),
  constraint storage_nodes__state_known
    check (state in ('in_service', 'draining', 'maintenance', 'disqualified', 'deregistered')),
  constraint storage_nodes__maintenance_has_end check ((state = 'maintenance') = (maintenance_until is not null)),
  constraint storage_nodes__active_is_in_service check (not is_active or state = 'in_service'),
  constraint storage_nodes__reputation_range check (reputation_score between 0 and 1)
);

create index storage_nodes__maintenance_until on node_registry.storage_nodes (maintenance_until)
  where maintenance_until is not null;
create index storage_nodes__probation_until on node_registry.storage_nodes (probation_until)
  where is_on_probation;

-- The small row that every heartbeat writes. Nothing that a beat changes is indexed and a third of each page stays
-- free, so that the updates stay HOT (99.5 % of them at fillfactor 70).
create table node_registry.node_leases (
  node_row_id bigint not null,
  epoch bigint not null default 0,
  holder uuid,
  liveness text not null default 'never_seen',
  liveness_since timestamptz not null default node_registry.lease_clock(),
  last_beat timestamptz,
  sequence bigint not null default 0,
  used_bytes bigint not null default 0,
  free_bytes bigint not null default 0,
  chunk_count bigint not null default 0,
  is_free_clamped boolean not null default false,
  chunk_digest bytea,
  peer_network cidr,
  responsiveness real not null default 1.0,
  constraint node_leases__pkey primary key (node_row_id),
  constraint node_leases__node_exists foreign key (node_row_id) references node_registry.storage_nodes (id),
  constraint node_leases__liveness_known check (liveness in ('never_seen', 'online', 'suspect', 'offline')),
  constraint node_leases__figures_not_negative check (used_bytes >= 0 and free_bytes >= 0 and chunk_count >= 0),
  constraint node_leases__digest_length check (length(chunk_digest) = 8),
  constraint node_leases__responsiveness_range check (responsiveness between 0 and 1)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- Every registry process renews its own row: a lease is only as good a witness as the process that holds it.
create table node_registry.registry_instances (
  instance_id uuid not null,
  started_at timestamptz not null default node_registry.lease_clock(),
  renewed_at timestamptz not null default node_registry.lease_clock(),
  -- Until then no lease held by this process is expired: it was found late (or gone), and its nodes get one full lease.
  protected_until timestamptz,
  is_found_late boolean not null default false,
  constraint registry_instances__pkey primary key (instance_id)
) with (fillfactor = 50);

-- What the sweeping process must know even when another takes over: pauses and the mass-failure brake.
create table node_registry.sweep_state (
  singleton boolean not null default true,
  swept_at timestamptz,
  warm_until timestamptz,
  halted_at timestamptz,
  halted_nodes integer not null default 0,
  halted_of integer not null default 0,
  released_until timestamptz,
  constraint sweep_state__pkey primary key (singleton),
  constraint sweep_state__single check (singleton)
);
insert into node_registry.sweep_state default values;

-- The one counter of directory revisions. It is raised in the changing transaction and its row lock held until commit,
-- so revisions become visible in order and none is skipped. Take it last: everybody waits for it.
create table node_registry.directory_head (
  singleton boolean not null default true,
  revision bigint not null default 0,
  -- Changes up to here have been dropped from directory_changes.
  compacted_revision bigint not null default 0,
  constraint directory_head__pkey primary key (singleton),
  constraint directory_head__single check (singleton)
) with (fillfactor = 10);
insert into node_registry.directory_head default values;

-- What watchers are told, as it was at that revision (node: a decentrastore.node_registry.v1.Node, null when removed).
create table node_registry.directory_changes (
  revision bigint not null,
  node_row_id bigint not null,
  node_id node_registry.sha256 not null,
  node bytea,
  changed_at timestamptz not null default node_registry.lease_clock(),
  constraint directory_changes__pkey primary key (revision)
);
create index directory_changes__changed_at on node_registry.directory_changes using brin (changed_at);

-- Why a node is what it is: every change of state, liveness and reputation with its cause, evidence and actor. The
-- service may only add to it.
create table node_registry.node_history (
  id bigint generated always as identity,
  -- Null where the whole network is meant (a sweep stopped or resumed).
  node_row_id bigint,
  occurred_at timestamptz not null default node_registry.lease_clock(),
  kind text not null,
  previous_state text,
  state text,
  previous_liveness text,
  liveness text,
  liveness_cause text,
  previous_score double precision,
  score double precision,
  evidence text not null default '',
  actor text not null default 'system',
  reason text not null default '',
  constraint node_history__pkey primary key (id),
  constraint node_history__node_exists foreign key (node_row_id) references node_registry.storage_nodes (id),
  constraint node_history__kind_known check (kind in ('enrollment', 'liveness', 'state', 'reputation', 'sweep'))
);
create index node_history__node on node_registry.node_history (node_row_id, id desc);
create index node_history__occurred_at on node_registry.node_history using brin (occurred_at);

-- The service may not rewrite history; it may only ask for what is older than a month to be dropped.
create function node_registry.prune_node_history() returns bigint
  language sql volatile security definer set search_path = pg_catalog
  as $$
    with old as (delete from node_registry.node_history where occurred_at < node_registry.lease_clock() - interval '30 days' returning 1)
    select count(*) from old
  $$;
revoke all on function node_registry.prune_node_history() from public;
grant execute on function node_registry.prune_node_history() to node_registry_app;

-- Only the hash of a token's secret is kept: reading this table enrolls nobody.
create table node_registry.join_tokens (
  join_token_id text not null,
  secret_hash node_registry.sha256 not null,
  -- 0: unlimited.
  max_uses integer not null,
  uses integer not null default 0,
  expires_at timestamptz not null,
  revoked_at timestamptz,
  created_by text not null default '',
  created_at timestamptz not null default now(),
  constraint join_tokens__pkey primary key (join_token_id),
  constraint join_tokens__uses_within_limit check (max_uses >= 0 and (max_uses = 0 or uses between 0 and max_uses))
);

-- The network's own certificate authorities. Each passes through announced (trusted, not yet issuing), active (the one
-- that issues), retiring (trusted no longer than its certificates live) and retired.
create table node_registry.certificate_authorities (
  id bigint generated always as identity,
  state text not null,
  certificate_der bytea not null,
  -- PKCS #8, AES-256-GCM under KEY_ENCRYPTION_KEY; without that key the table signs nothing.
  encrypted_private_key bytea not null,
  created_at timestamptz not null default now(),
  state_since timestamptz not null default now(),
  expires_at timestamptz not null,
  constraint certificate_authorities__pkey primary key (id),
  constraint certificate_authorities__state_known check (state in ('announced', 'active', 'retiring', 'retired'))
);
create unique index certificate_authorities__one_active on node_registry.certificate_authorities (state)
  where state = 'active';
create unique index certificate_authorities__one_announced on node_registry.certificate_authorities (state)
  where state = 'announced';

alter table node_registry.storage_nodes add constraint storage_nodes__certificate_authority_exists
  foreign key (certificate_authority_id) references node_registry.certificate_authorities (id);

-- The original document's shape, with the beat as it really is.
create view node_registry.current_storage_nodes as
  select n.id, encode(n.node_id, 'hex') as node_id, n.capacity_gb, l.last_beat as last_heartbeat, n.is_active,
    n.reputation_score, n.created_at, n.state, l.liveness, l.used_bytes, l.free_bytes, l.chunk_count
  from node_registry.storage_nodes n
  join node_registry.node_leases l on l.node_row_id = n.id;

grant select, insert, update on node_registry.storage_nodes, node_registry.node_leases, node_registry.join_tokens,
  node_registry.certificate_authorities to node_registry_app;
grant select, insert, update, delete on node_registry.registry_instances to node_registry_app;
grant select, update on node_registry.sweep_state, node_registry.directory_head to node_registry_app;
grant select, insert, delete on node_registry.directory_changes to node_registry_app;
grant select, insert on node_registry.node_history to node_registry_app;
grant select on node_registry.current_storage_nodes to node_registry_app;
