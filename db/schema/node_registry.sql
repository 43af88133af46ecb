-- Made from the migrations by npm run generate; never edited.

-- domains
sha256 as bytea sha256__length CHECK ((octet_length(VALUE) = 32))

-- sequences
certificate_authorities_id_seq as bigint increment 1
chunk_storage_id_seq as bigint increment 1
node_history_id_seq as bigint increment 1
outbox_id as bigint increment 1
reputation_evidence_number as bigint increment 1
storage_nodes_id_seq as bigint increment 1

-- tables
certificate_authorities (
  id bigint not null generated as identity,
  state text not null,
  certificate_der bytea not null,
  encrypted_private_key bytea not null,
  created_at timestamp with time zone not null default now(),
  state_since timestamp with time zone not null default now(),
  expires_at timestamp with time zone not null
)
chunk_deletions (
  chunk_hash node_registry.sha256 not null,
  node_id bigint not null,
  cause text not null,
  requested_at timestamp with time zone not null
)
chunk_repairs with (autovacuum_vacuum_scale_factor=0.05) (
  chunk_hash node_registry.sha256 not null,
  node_id bigint not null,
  command_id uuid not null,
  generation integer not null,
  size_bytes bigint not null,
  started_at timestamp with time zone not null,
  deadline timestamp with time zone not null,
  refused_at timestamp with time zone
)
chunk_storage partition by hash (chunk_hash) (
  id bigint not null default nextval('node_registry.chunk_storage_id_seq'::regclass),
  chunk_hash node_registry.sha256 not null,
  node_id bigint not null,
  block_index integer not null,
  assigned_at timestamp with time zone not null,
  is_repair boolean not null default false,
  stored_at timestamp with time zone,
  lost_at timestamp with time zone,
  verified_at timestamp with time zone,
  next_proof_at timestamp with time zone default (now() + (random() * '01:00:00'::interval)),
  proof_count integer not null default 0
)
chunk_storage_0 partition of node_registry.chunk_storage for values with (modulus 8, remainder 0) with (fillfactor=80)
chunk_storage_1 partition of node_registry.chunk_storage for values with (modulus 8, remainder 1) with (fillfactor=80)
chunk_storage_2 partition of node_registry.chunk_storage for values with (modulus 8, remainder 2) with (fillfactor=80)
chunk_storage_3 partition of node_registry.chunk_storage for values with (modulus 8, remainder 3) with (fillfactor=80)
chunk_storage_4 partition of node_registry.chunk_storage for values with (modulus 8, remainder 4) with (fillfactor=80)
chunk_storage_5 partition of node_registry.chunk_storage for values with (modulus 8, remainder 5) with (fillfactor=80)
chunk_storage_6 partition of node_registry.chunk_storage for values with (modulus 8, remainder 6) with (fillfactor=80)
chunk_storage_7 partition of node_registry.chunk_storage for values with (modulus 8, remainder 7) with (fillfactor=80)
chunks with (fillfactor=50) (
  chunk_hash node_registry.sha256 not null,
  owner_id uuid not null,
  size_bytes bigint not null,
  generation integer not null default 1,
  wanted_replicas smallint not null,
  confirmed_replicas smallint not null default 0,
  live_replicas smallint not null default 0,
  paying_upload_id uuid not null,
  reservation_id uuid,
  proof_root node_registry.sha256,
  created_at timestamp with time zone not null,
  quorum_at timestamp with time zone,
  released_at timestamp with time zone,
  event_version bigint not null default 0
)
deleted_users (
  user_id uuid not null,
  deleted_at timestamp with time zone not null,
  purged_at timestamp with time zone
)
digest_differences (
  node_id bigint not null,
  since timestamp with time zone not null
)
directory_changes (
  revision bigint not null,
  node_row_id bigint not null,
  node_id node_registry.sha256 not null,
  node bytea,
  changed_at timestamp with time zone not null default node_registry.lease_clock()
)
directory_head with (fillfactor=10) (
  singleton boolean not null default true,
  revision bigint not null default 0,
  compacted_revision bigint not null default 0
)
doubted_proof_roots (
  chunk_hash node_registry.sha256 not null,
  generation integer not null,
  doubted_at timestamp with time zone not null
)
inbox partition by range (event_time) (
  consumer text not null,
  event_id uuid not null,
  event_time timestamp with time zone not null,
  applied_at timestamp with time zone not null default now(),
  given_up_sequence bigint
)
inbox_default partition of node_registry.inbox default
inbox_positions (
  consumer text not null,
  stream_created_at timestamp with time zone not null,
  read_up_to bigint not null,
  read_at timestamp with time zone not null default now()
)
join_tokens (
  join_token_id text not null,
  secret_hash node_registry.sha256 not null,
  max_uses integer not null,
  uses integer not null default 0,
  expires_at timestamp with time zone not null,
  revoked_at timestamp with time zone,
  created_by text not null default ''::text,
  created_at timestamp with time zone not null default now()
)
leases (
  name text not null,
  holder uuid not null,
  epoch bigint not null,
  expires_at timestamp with time zone not null
)
node_history (
  id bigint not null generated as identity,
  node_row_id bigint,
  occurred_at timestamp with time zone not null default node_registry.lease_clock(),
  kind text not null,
  previous_state text,
  state text,
  previous_liveness text,
  liveness text,
  liveness_cause text,
  previous_score double precision,
  score double precision,
  evidence text not null default ''::text,
  actor text not null default 'system'::text,
  reason text not null default ''::text
)
node_holdings with (fillfactor=50) (
  node_id bigint not null,
  assigned_chunks bigint not null default 0,
  assigned_bytes bigint not null default 0,
  confirmed_chunks bigint not null default 0,
  confirmed_bytes bigint not null default 0,
  digest numeric(20,0) not null default 0,
  digest_changed_at timestamp with time zone not null default '-infinity'::timestamp with time zone,
  pending_deletions bigint not null default 0,
  is_available boolean not null default true,
  walked_to bytea,
  deletion_changes bigint not null default 0
)
node_leases with (fillfactor=70, autovacuum_vacuum_scale_factor=0.05) (
  node_row_id bigint not null,
  epoch bigint not null default 0,
  holder uuid,
  liveness text not null default 'never_seen'::text,
  liveness_since timestamp with time zone not null default node_registry.lease_clock(),
  last_beat timestamp with time zone,
  sequence bigint not null default 0,
  used_bytes bigint not null default 0,
  free_bytes bigint not null default 0,
  chunk_count bigint not null default 0,
  is_free_clamped boolean not null default false,
  chunk_digest bytea,
  peer_network cidr,
  responsiveness real not null default 1.0
)
node_reputations with (fillfactor=70) (
  node_id bigint not null,
  formula text not null default ''::text,
  score double precision not null default 1,
  proven_score double precision not null default 1,
  formula_values jsonb not null default '{}'::jsonb,
  below_since timestamp with time zone,
  applied_evidence_id bigint not null default 0,
  is_pending boolean not null default false,
  unlogged_successes bigint not null default 0
)
outbox partition by range (created_at) (
  id bigint not null default nextval('node_registry.outbox_id'::regclass),
  event_id uuid not null,
  subject text not null,
  key text not null,
  key_version bigint not null,
  type text not null,
  payload bytea not null,
  traceparent text,
  created_at timestamp with time zone not null default now(),
  published_at timestamp with time zone,
  stream_sequence bigint
)
outbox_default partition of node_registry.outbox default
outbox_streams (
  stream text not null,
  created_at timestamp with time zone not null,
  last_sequence bigint not null
)
partitioned_tables (
  table_name text not null,
  time_column text not null,
  behind_days integer not null default 0,
  ahead_days integer not null default 3,
  keep_days integer,
  settled_column text,
  span text not null default 'day'::text
)
proof_challenges with (autovacuum_vacuum_scale_factor=0.05) (
  command_id uuid not null,
  chunk_hash node_registry.sha256 not null,
  node_id bigint not null,
  generation integer not null,
  size_bytes bigint not null,
  proof_root node_registry.sha256,
  leaf_index integer,
  nonce bytea not null,
  is_retry boolean not null,
  issued_at timestamp with time zone not null
)
proof_strikes (
  chunk_hash node_registry.sha256 not null,
  node_id bigint not null,
  generation integer not null,
  failure text not null,
  struck_at timestamp with time zone not null
)
proof_verdicts with (autovacuum_vacuum_scale_factor=0.05) (
  command_id uuid not null,
  node_id bigint not null,
  outcome text not null,
  decided_at timestamp with time zone not null
)
registry_instances with (fillfactor=50) (
  instance_id uuid not null,
  started_at timestamp with time zone not null default node_registry.lease_clock(),
  renewed_at timestamp with time zone not null default node_registry.lease_clock(),
  protected_until timestamp with time zone,
  is_found_late boolean not null default false
)
repair_pauses (
  chunk_hash node_registry.sha256 not null,
  failures integer not null,
  until timestamp with time zone not null
)
replaced_nodes (
  upload_id uuid not null,
  chunk_hash node_registry.sha256 not null,
  node_id bigint not null
)
reputation_evidence partition by range (occurred_at) (
  id bigint not null default nextval('node_registry.reputation_evidence_number'::regclass),
  node_id bigint not null,
  kind text not null,
  count integer not null default 1,
  occurred_at timestamp with time zone not null,
  chunk_hash node_registry.sha256,
  command_id uuid,
  actor text not null default ''::text,
  reason text not null default ''::text
)
reputation_evidence_default partition of node_registry.reputation_evidence default
reservation_returns (
  upload_id uuid not null,
  attempt integer not null,
  user_id uuid not null,
  size_bytes bigint not null,
  reservation_id uuid,
  due_at timestamp with time zone not null,
  tries integer not null default 0
)
schema_migrations (
  version integer not null,
  name text not null,
  checksum text not null,
  needs_code integer,
  applied_at timestamp with time zone not null default now(),
  duration_ms integer not null
)
storage_nodes (
  id bigint not null generated as identity,
  node_id node_registry.sha256 not null,
  address_host text not null,
  address_port integer not null,
  region text not null default ''::text,
  software_version text not null default ''::text,
  capacity_gb integer not null,
  state text not null default 'in_service'::text,
  state_reason text not null default ''::text,
  maintenance_until timestamp with time zone,
  is_active boolean not null default false,
  last_heartbeat timestamp with time zone,
  reputation_score double precision not null default 1.0,
  reputation_reset_at timestamp with time zone,
  reputation_reset_reason text,
  is_on_probation boolean not null default true,
  probation_until timestamp with time zone,
  certificate_expires_at timestamp with time zone,
  certificate_authority_id bigint,
  revision bigint not null default 0,
  event_version bigint not null default 0,
  created_at timestamp with time zone not null default now()
)
sweep_state (
  singleton boolean not null default true,
  swept_at timestamp with time zone,
  warm_until timestamp with time zone,
  halted_at timestamp with time zone,
  halted_nodes integer not null default 0,
  halted_of integer not null default 0,
  released_until timestamp with time zone
)
under_replicated_chunks with (fillfactor=80) (
  chunk_hash node_registry.sha256 not null,
  live_replicas smallint not null,
  wanted_replicas smallint not null,
  since timestamp with time zone not null
)
upload_chunks (
  upload_id uuid not null,
  chunk_hash node_registry.sha256 not null,
  block_index integer not null
)
uploads with (fillfactor=80) (
  upload_id uuid not null,
  user_id uuid not null,
  state text not null,
  attempt integer not null default 1,
  fingerprint node_registry.sha256 not null,
  replicas smallint not null,
  chunk_count integer not null,
  reserved_bytes bigint not null,
  reservation_id uuid,
  remaining_chunks integer not null default 0,
  charged_chunks integer not null default 0,
  charged_bytes bigint not null default 0,
  created_at timestamp with time zone not null,
  placed_at timestamp with time zone,
  expires_at timestamp with time zone,
  ended_at timestamp with time zone,
  due_at timestamp with time zone,
  event_version bigint not null default 0,
  relaxed_rules text[] not null default '{}'::text[]
)
user_usage with (fillfactor=50) (
  user_id uuid not null,
  charged_bytes bigint not null default 0,
  charged_chunks bigint not null default 0
)

-- constraints
certificate_authorities: certificate_authorities__pkey PRIMARY KEY (id)
certificate_authorities: certificate_authorities__state_known CHECK ((state = ANY (ARRAY['announced'::text, 'active'::text, 'retiring'::text, 'retired'::text])))
chunk_deletions: chunk_deletions__cause_known CHECK ((cause = ANY (ARRAY['released'::text, 'upload_expired'::text, 'not_placed'::text])))
chunk_deletions: chunk_deletions__pkey PRIMARY KEY (chunk_hash, node_id)
chunk_repairs: chunk_repairs__node_exists FOREIGN KEY (node_id) REFERENCES node_registry.storage_nodes(id)
chunk_repairs: chunk_repairs__pkey PRIMARY KEY (chunk_hash, node_id)
chunk_storage: chunk_storage__block_index_not_negative CHECK ((block_index >= 0))
chunk_storage: chunk_storage__chunk_node_unique UNIQUE (chunk_hash, node_id)
chunk_storage: chunk_storage__lost_does_not_count CHECK (((lost_at IS NULL) OR (stored_at IS NULL)))
chunk_storage: chunk_storage__node_exists FOREIGN KEY (node_id) REFERENCES node_registry.storage_nodes(id)
chunk_storage: chunk_storage__proof_count_not_negative CHECK ((proof_count >= 0))
chunks: chunks__generation_positive CHECK ((generation > 0))
chunks: chunks__pkey PRIMARY KEY (chunk_hash)
chunks: chunks__replicas_consistent CHECK (((live_replicas >= 0) AND (live_replicas <= confirmed_replicas)))
chunks: chunks__replicas_range CHECK (((wanted_replicas >= 1) AND (wanted_replicas <= 10)))
chunks: chunks__size_range CHECK (((size_bytes >= 1) AND (size_bytes <= 67108864)))
deleted_users: deleted_users__pkey PRIMARY KEY (user_id)
digest_differences: digest_differences__node_exists FOREIGN KEY (node_id) REFERENCES node_registry.storage_nodes(id)
digest_differences: digest_differences__pkey PRIMARY KEY (node_id)
directory_changes: directory_changes__pkey PRIMARY KEY (revision)
directory_head: directory_head__pkey PRIMARY KEY (singleton)
directory_head: directory_head__single CHECK (singleton)
doubted_proof_roots: doubted_proof_roots__pkey PRIMARY KEY (chunk_hash)
inbox: inbox__pkey PRIMARY KEY (consumer, event_id, event_time)
inbox_positions: inbox_positions__pkey PRIMARY KEY (consumer)
join_tokens: join_tokens__pkey PRIMARY KEY (join_token_id)
join_tokens: join_tokens__uses_within_limit CHECK (((max_uses >= 0) AND ((max_uses = 0) OR ((uses >= 0) AND (uses <= max_uses)))))
leases: leases__pkey PRIMARY KEY (name)
node_history: node_history__kind_known CHECK ((kind = ANY (ARRAY['enrollment'::text, 'liveness'::text, 'state'::text, 'reputation'::text, 'sweep'::text])))
node_history: node_history__node_exists FOREIGN KEY (node_row_id) REFERENCES node_registry.storage_nodes(id)
node_history: node_history__pkey PRIMARY KEY (id)
node_holdings: node_holdings__digest_range CHECK (((digest >= (0)::numeric) AND (digest < '18446744073709551616'::numeric)))
node_holdings: node_holdings__node_exists FOREIGN KEY (node_id) REFERENCES node_registry.storage_nodes(id)
node_holdings: node_holdings__not_negative CHECK (((assigned_chunks >= 0) AND (assigned_bytes >= 0) AND (confirmed_chunks >= 0) AND (confirmed_bytes >= 0) AND (pending_deletions >= 0)))
node_holdings: node_holdings__pkey PRIMARY KEY (node_id)
node_leases: node_leases__digest_length CHECK ((length(chunk_digest) = 8))
node_leases: node_leases__figures_not_negative CHECK (((used_bytes >= 0) AND (free_bytes >= 0) AND (chunk_count >= 0)))
node_leases: node_leases__liveness_known CHECK ((liveness = ANY (ARRAY['never_seen'::text, 'online'::text, 'suspect'::text, 'offline'::text])))
node_leases: node_leases__node_exists FOREIGN KEY (node_row_id) REFERENCES node_registry.storage_nodes(id)
node_leases: node_leases__pkey PRIMARY KEY (node_row_id)
node_leases: node_leases__responsiveness_range CHECK (((responsiveness >= (0)::double precision) AND (responsiveness <= (1)::double precision)))
node_reputations: node_reputations__node_exists FOREIGN KEY (node_id) REFERENCES node_registry.storage_nodes(id)
node_reputations: node_reputations__pkey PRIMARY KEY (node_id)
node_reputations: node_reputations__score_range CHECK ((((score >= (0)::double precision) AND (score <= (1)::double precision)) AND ((proven_score >= (0)::double precision) AND (proven_score <= (1)::double precision))))
node_reputations: node_reputations__successes_not_negative CHECK ((unlogged_successes >= 0))
outbox: outbox__key_version CHECK ((key_version > 0))
outbox: outbox__pkey PRIMARY KEY (id, created_at)
outbox_streams: outbox_streams__pkey PRIMARY KEY (stream)
partitioned_tables: partitioned_tables__days CHECK (((behind_days >= 0) AND (ahead_days >= 1) AND (keep_days >= 1)))
partitioned_tables: partitioned_tables__pkey PRIMARY KEY (table_name)
partitioned_tables: partitioned_tables__span_known CHECK ((span = ANY (ARRAY['day'::text, 'month'::text])))
proof_challenges: proof_challenges__leaf_has_root CHECK (((leaf_index IS NULL) OR ((leaf_index >= 0) AND (proof_root IS NOT NULL))))
proof_challenges: proof_challenges__nonce_length CHECK ((octet_length(nonce) = 32))
proof_challenges: proof_challenges__one_per_replica UNIQUE (node_id, chunk_hash)
proof_challenges: proof_challenges__pkey PRIMARY KEY (command_id)
proof_strikes: proof_strikes__failure_known CHECK ((failure = ANY (ARRAY['invalid'::text, 'timed_out'::text])))
proof_strikes: proof_strikes__pkey PRIMARY KEY (chunk_hash, node_id)
proof_verdicts: proof_verdicts__outcome_known CHECK ((outcome = ANY (ARRAY['proved'::text, 'not_held'::text, 'invalid'::text, 'timed_out'::text])))
proof_verdicts: proof_verdicts__pkey PRIMARY KEY (command_id)
registry_instances: registry_instances__pkey PRIMARY KEY (instance_id)
repair_pauses: repair_pauses__pkey PRIMARY KEY (chunk_hash)
replaced_nodes: replaced_nodes__pkey PRIMARY KEY (upload_id, chunk_hash, node_id)
reputation_evidence: reputation_evidence__count_positive CHECK ((count > 0))
reputation_evidence: reputation_evidence__kind_known CHECK ((kind = ANY (ARRAY['proof_succeeded'::text, 'proof_failed'::text, 'proof_timed_out'::text, 'proof_invalid'::text, 'loss_reported'::text, 'reset'::text])))
reputation_evidence: reputation_evidence__node_exists FOREIGN KEY (node_id) REFERENCES node_registry.storage_nodes(id)
reputation_evidence: reputation_evidence__pkey PRIMARY KEY (id, occurred_at)
reservation_returns: reservation_returns__pkey PRIMARY KEY (upload_id, attempt)
schema_migrations: schema_migrations__pkey PRIMARY KEY (version)
storage_nodes: storage_nodes__active_is_in_service CHECK (((NOT is_active) OR (state = 'in_service'::text)))
storage_nodes: storage_nodes__capacity_range CHECK (((capacity_gb >= 1) AND (capacity_gb <= 1048576)))
storage_nodes: storage_nodes__certificate_authority_exists FOREIGN KEY (certificate_authority_id) REFERENCES node_registry.certificate_authorities(id)
storage_nodes: storage_nodes__host_length CHECK (((length(address_host) >= 1) AND (length(address_host) <= 253)))
storage_nodes: storage_nodes__maintenance_has_end CHECK (((state = 'maintenance'::text) = (maintenance_until IS NOT NULL)))
storage_nodes: storage_nodes__node_id_unique UNIQUE (node_id)
storage_nodes: storage_nodes__pkey PRIMARY KEY (id)
storage_nodes: storage_nodes__port_range CHECK (((address_port >= 1) AND (address_port <= 65535)))
storage_nodes: storage_nodes__region_length CHECK ((length(region) <= 64))
storage_nodes: storage_nodes__reputation_range CHECK (((reputation_score >= (0)::double precision) AND (reputation_score <= (1)::double precision)))
storage_nodes: storage_nodes__software_version_length CHECK ((length(software_version) <= 64))
storage_nodes: storage_nodes__state_known CHECK ((state = ANY (ARRAY['in_service'::text, 'draining'::text, 'maintenance'::text, 'disqualified'::text, 'deregistered'::text])))
sweep_state: sweep_state__pkey PRIMARY KEY (singleton)
sweep_state: sweep_state__single CHECK (singleton)
under_replicated_chunks: under_replicated_chunks__is_short CHECK ((live_replicas < wanted_replicas))
under_replicated_chunks: under_replicated_chunks__pkey PRIMARY KEY (chunk_hash)
upload_chunks: upload_chunks__pkey PRIMARY KEY (upload_id, chunk_hash)
upload_chunks: upload_chunks__upload_exists FOREIGN KEY (upload_id) REFERENCES node_registry.uploads(upload_id)
uploads: uploads__charges_consistent CHECK (((charged_chunks = 0) = (charged_bytes = 0)))
uploads: uploads__completed_has_none CHECK (((state <> 'completed'::text) OR (remaining_chunks = 0)))
uploads: uploads__open_has_remaining CHECK (((state <> 'open'::text) OR (remaining_chunks > 0)))
uploads: uploads__pkey PRIMARY KEY (upload_id)
uploads: uploads__placed_has_end CHECK (((placed_at IS NULL) = (expires_at IS NULL)))
uploads: uploads__remaining_range CHECK (((remaining_chunks >= 0) AND (remaining_chunks <= chunk_count)))
uploads: uploads__state_known CHECK ((state = ANY (ARRAY['reserving'::text, 'failed'::text, 'open'::text, 'completed'::text, 'expired'::text])))
user_usage: user_usage__not_negative CHECK (((charged_bytes >= 0) AND (charged_chunks >= 0)))
user_usage: user_usage__pkey PRIMARY KEY (user_id)

-- indexes
CREATE UNIQUE INDEX certificate_authorities__one_active ON node_registry.certificate_authorities USING btree (state) WHERE (state = 'active'::text)
CREATE UNIQUE INDEX certificate_authorities__one_announced ON node_registry.certificate_authorities USING btree (state) WHERE (state = 'announced'::text)
CREATE INDEX chunk_deletions__node ON node_registry.chunk_deletions USING btree (node_id, chunk_hash)
CREATE INDEX chunk_repairs__deadline ON node_registry.chunk_repairs USING btree (deadline)
CREATE INDEX chunk_repairs__node ON node_registry.chunk_repairs USING btree (node_id)
CREATE INDEX chunk_storage__due ON ONLY node_registry.chunk_storage USING btree (node_id, next_proof_at)
CREATE INDEX chunk_storage__node ON ONLY node_registry.chunk_storage USING btree (node_id, chunk_hash)
CREATE INDEX deleted_users__to_purge ON node_registry.deleted_users USING btree (deleted_at) WHERE (purged_at IS NULL)
CREATE INDEX directory_changes__changed_at ON node_registry.directory_changes USING brin (changed_at)
CREATE INDEX node_history__node ON node_registry.node_history USING btree (node_row_id, id DESC)
CREATE INDEX node_history__occurred_at ON node_registry.node_history USING brin (occurred_at)
CREATE INDEX node_reputations__pending ON node_registry.node_reputations USING btree (node_id) WHERE is_pending
CREATE INDEX outbox__unpublished ON ONLY node_registry.outbox USING btree (id) WHERE (published_at IS NULL)
CREATE INDEX proof_strikes__node ON node_registry.proof_strikes USING btree (node_id, struck_at)
CREATE INDEX reputation_evidence__node ON ONLY node_registry.reputation_evidence USING btree (node_id, id)
CREATE INDEX reservation_returns__due ON node_registry.reservation_returns USING btree (due_at)
CREATE INDEX storage_nodes__deregistered ON node_registry.storage_nodes USING btree (id) WHERE (state = 'deregistered'::text)
CREATE INDEX storage_nodes__maintenance_until ON node_registry.storage_nodes USING btree (maintenance_until) WHERE (maintenance_until IS NOT NULL)
CREATE INDEX storage_nodes__probation_until ON node_registry.storage_nodes USING btree (probation_until) WHERE is_on_probation
CREATE INDEX under_replicated_chunks__urgency ON node_registry.under_replicated_chunks USING btree (live_replicas, wanted_replicas DESC, since, chunk_hash)
CREATE INDEX upload_chunks__chunk ON node_registry.upload_chunks USING btree (chunk_hash)
CREATE INDEX uploads__due ON node_registry.uploads USING btree (due_at) WHERE (due_at IS NOT NULL)
CREATE INDEX uploads__user ON node_registry.uploads USING btree (user_id, upload_id)

-- views
current_chunk_storage as
 SELECT s.id,
    encode(s.chunk_hash::bytea, 'hex'::text) AS chunk_hash,
    encode(n.node_id::bytea, 'hex'::text) AS node_id,
    s.block_index,
    s.stored_at,
    s.verified_at,
    s.proof_count
   FROM node_registry.chunk_storage s
     JOIN node_registry.storage_nodes n ON n.id = s.node_id;
current_storage_nodes as
 SELECT n.id,
    encode(n.node_id::bytea, 'hex'::text) AS node_id,
    n.capacity_gb,
    l.last_beat AS last_heartbeat,
    n.is_active,
    n.reputation_score,
    n.created_at,
    n.state,
    l.liveness,
    l.used_bytes,
    l.free_bytes,
    l.chunk_count
   FROM node_registry.storage_nodes n
     JOIN node_registry.node_leases l ON l.node_row_id = n.id;

-- functions
CREATE OR REPLACE FUNCTION node_registry.create_partition(target node_registry.partitioned_tables, day date)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  partition text := format('%s_p%s', target.table_name, to_char(day, 'YYYYMMDD'));
  lower_bound text := format('%s 00:00:00+00', day);
  upper_bound text := format('%s 00:00:00+00', (day + ('1 ' || target.span)::interval)::date);
  move_rows text := format(
    'with late as (delete from node_registry.%I where %I >= %L and %I < %L returning *) insert into node_registry.%I select * from late',
    target.table_name || '_default', target.time_column, lower_bound, target.time_column, upper_bound, partition
  );
begin
  if to_regclass(format('node_registry.%I', partition)) is not null then
    return false;
  end if;
  -- Vacuumed early: outbox rows die once each, and the relay reads past the dead entries of its index.
  execute format(
    'create table node_registry.%I (like node_registry.%I including defaults including constraints) with (autovacuum_vacuum_scale_factor = 0.05)',
    partition, target.table_name
  );
  -- However many there are, nobody waits for them. Those that come meanwhile follow under the lock: with one row of this
  -- day or month left in the default partition the new one is refused, and where rows keep coming it would be every time.
  execute move_rows;
  execute format('lock table node_registry.%I in access exclusive mode', target.table_name || '_default');
  execute move_rows;
  execute format(
    'alter table node_registry.%I attach partition node_registry.%I for values from (%L) to (%L)',
    target.table_name, partition, lower_bound, upper_bound
  );
  return true;
end
$function$

CREATE OR REPLACE FUNCTION node_registry.is_partition_over(target node_registry.partitioned_tables, partition text, day date)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  has_live_rows boolean := false;
begin
  if target.keep_days is null or (day + ('1 ' || target.span)::interval)::date + target.keep_days > (now() at time zone 'UTC')::date then
    return false;
  end if;
  if target.settled_column is not null then
    execute format(
      'select exists (select from node_registry.%I where %I is null or %I > now() - make_interval(days => $1))',
      partition, target.settled_column, target.settled_column
    ) into has_live_rows using target.keep_days;
  end if;
  return not has_live_rows;
end
$function$

CREATE OR REPLACE FUNCTION node_registry.lease_clock()
 RETURNS timestamp with time zone
 LANGUAGE sql
 PARALLEL SAFE
AS $function$ select clock_timestamp() $function$

CREATE OR REPLACE FUNCTION node_registry.maintain_partitions()
 RETURNS TABLE(table_name text, created integer, dropped integer, busy integer, default_rows bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '500ms'
AS $function$
declare
  today date := (now() at time zone 'UTC')::date;
  target node_registry.partitioned_tables;
  first_day date;
  old record;
  over_partitions text[] := '{}';
  unread_tables text[] := '{}';
begin
  if not pg_try_advisory_xact_lock(hashtext('node_registry.maintain_partitions')) then
    return;
  end if;
  -- Whether a partition is over takes reading all of it. That comes first, because a dropped or a new partition locks its
  -- table against everybody until this function has ended.
  for target in select * from node_registry.partitioned_tables loop
    for old in
      select child.relname::text as partition, to_date(right(child.relname, 8), 'YYYYMMDD') as day
      from pg_inherits
      join pg_class as child on child.oid = pg_inherits.inhrelid
      where pg_inherits.inhparent = format('node_registry.%I', target.table_name)::regclass
        and child.relname ~ '_p[0-9]{8}$'
    loop
      begin
        if node_registry.is_partition_over(target, old.partition, old.day) then
          over_partitions := over_partitions || old.partition;
        end if;
      exception when lock_not_available then
        unread_tables := unread_tables || target.table_name;
      end;
    end loop;
  end loop;
  for target in select * from node_registry.partitioned_tables order by partitioned_tables.table_name loop
    table_name := target.table_name;
    created := 0;
    dropped := 0;
    busy := cardinality(array_positions(unread_tables, target.table_name));
    -- Before a new one is attached: whoever reads the table would then wait for its default partition, and the drop for them.
    for old in
      select child.relname::text as partition
      from pg_inherits
      join pg_class as child on child.oid = pg_inherits.inhrelid
      where pg_inherits.inhparent = format('node_registry.%I', target.table_name)::regclass
        and child.relname = any (over_partitions)
      order by child.relname
    loop
      begin
        execute format('drop table node_registry.%I', old.partition);
        dropped := dropped + 1;
      exception when lock_not_available then
        busy := busy + 1;
      end;
    end loop;
    for first_day in
      select distinct date_trunc(target.span, (today + near)::timestamp)::date
      from generate_series(-target.behind_days, target.ahead_days) as near order by 1
    loop
      begin
        created := created + node_registry.create_partition(target, first_day)::integer;
      exception when lock_not_available then
        busy := busy + 1;
      end;
    end loop;
    if target.keep_days is not null then
      execute format(
        'delete from node_registry.%I where %I < now() - make_interval(days => $1) and coalesce(%s < now() - make_interval(days => $1), %L)',
        target.table_name || '_default', target.time_column,
        coalesce(quote_ident(target.settled_column), 'null::timestamptz'), target.settled_column is null
      ) using target.keep_days;
    end if;
    execute format('select count(*) from node_registry.%I', target.table_name || '_default') into default_rows;
    return next;
  end loop;
end
$function$

CREATE OR REPLACE FUNCTION node_registry.prune_node_history()
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog'
 SET plan_cache_mode TO 'force_custom_plan'
AS $function$
    declare
      kept_from constant timestamptz not null := node_registry.lease_clock() - interval '30 days';
      dropped bigint;
    begin
      delete from node_registry.node_history where id in (
        select id from node_registry.node_history where occurred_at < kept_from limit 10000);
      get diagnostics dropped = row_count;
      return dropped;
    end
  $function$


-- rights of other roles than the owner
column inbox.given_up_sequence: node_registry_app may update
column outbox.published_at: node_registry_app may update
column outbox.stream_sequence: node_registry_app may update
function lease_clock: everybody may execute
function maintain_partitions: node_registry_app may execute
function prune_node_history: node_registry_app may execute
schema node_registry: node_registry_app may usage
sequence chunk_storage_id_seq: node_registry_app may usage
sequence outbox_id: node_registry_app may usage
sequence reputation_evidence_number: node_registry_app may usage
table certificate_authorities: node_registry_app may insert, select, update
table chunk_deletions: node_registry_app may delete, insert, select, update
table chunk_repairs: node_registry_app may delete, insert, select, update
table chunk_storage: node_registry_app may delete, insert, select, update
table chunks: node_registry_app may insert, select, update
table current_chunk_storage: node_registry_app may select
table current_storage_nodes: node_registry_app may select
table deleted_users: node_registry_app may delete, insert, select, update
table digest_differences: node_registry_app may delete, insert, select
table directory_changes: node_registry_app may delete, insert, select
table directory_head: node_registry_app may select, update
table doubted_proof_roots: node_registry_app may delete, insert, select, update
table inbox: node_registry_app may insert, select
table inbox_positions: node_registry_app may insert, select, update
table join_tokens: node_registry_app may insert, select, update
table leases: node_registry_app may insert, select, update
table node_history: node_registry_app may insert, select
table node_holdings: node_registry_app may insert, select, update
table node_leases: node_registry_app may insert, select, update
table node_reputations: node_registry_app may insert, select, update
table outbox: node_registry_app may insert, select
table outbox_streams: node_registry_app may insert, select, update
table partitioned_tables: node_registry_app may select
table proof_challenges: node_registry_app may delete, insert, select, update
table proof_strikes: node_registry_app may delete, insert, select, update
table proof_verdicts: node_registry_app may delete, insert, select, update
table registry_instances: node_registry_app may delete, insert, select, update
table repair_pauses: node_registry_app may delete, insert, select, update
table replaced_nodes: node_registry_app may delete, insert, select, update
table reputation_evidence: node_registry_app may insert, select
table reservation_returns: node_registry_app may delete, insert, select, update
table schema_migrations: node_registry_app may select
table storage_nodes: node_registry_app may insert, select, update
table sweep_state: node_registry_app may select, update
table under_replicated_chunks: node_registry_app may delete, insert, select, update
table upload_chunks: node_registry_app may delete, insert, select, update
table uploads: node_registry_app may delete, insert, select, update
table user_usage: node_registry_app may delete, insert, select, update
