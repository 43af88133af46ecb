-- Chunks, the uploads that brought them, and where each replica is.
--
-- Lock order everywhere, each list sorted by its key: the upload that is being placed, chunks, other uploads,
-- node_holdings, user_usage, outbox. A chunk's row is the lock for everything about that hash: its replicas, its
-- references and its deletions change only under it, so reports, expiry, release and placement of one hash queue there.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- One row per hash for ever: the guard (user, hash, generation) of charges and the event counter outlive every life of
-- the hash, so a dead chunk keeps its row (released_at set) and the next life raises the generation.
create table node_registry.chunks (
  chunk_hash node_registry.sha256 not null,
  owner_id uuid not null,
  size_bytes bigint not null,
  generation integer not null default 1,
  wanted_replicas smallint not null,
  -- Replicas that reported the chunk and were not lost since.
  confirmed_replicas smallint not null default 0,
  -- Those of them on nodes that are there to serve them: follows node_holdings.is_available.
  live_replicas smallint not null default 0,
  -- The upload that placed it first in this life; its reservation pays. Null where that reservation is closed already.
  paying_upload_id uuid not null,
  reservation_id uuid,
  -- RFC 6962 root over 1 KiB leaves; without it a proof of storage is the whole chunk.
  proof_root node_registry.sha256,
  created_at timestamptz not null,
  -- Set once per life and never cleared: from then on the owner is charged, whatever happens to replicas.
  quorum_at timestamptz,
  -- Null while it lives.
  released_at timestamptz,
  event_version bigint not null default 0,
  constraint chunks__pkey primary key (chunk_hash),
  constraint chunks__size_range check (size_bytes between 1 and 67108864),
  constraint chunks__replicas_range check (wanted_replicas between 1 and 10),
  constraint chunks__replicas_consistent check (live_replicas between 0 and confirmed_replicas),
  constraint chunks__generation_positive check (generation > 0)
  -- Room in each page for the updates of its confirmations, which touch no index and so stay HOT.
) with (fillfactor = 70);

-- The replicas. node_id is storage_nodes.id (8 bytes instead of 32, three times per replica: row and two indexes); the
-- view current_chunk_storage shows the original shape. No foreign key to chunks: rows there are never deleted.
create sequence node_registry.chunk_storage_id_seq as bigint cache 100;
create table node_registry.chunk_storage (
  id bigint not null default nextval('node_registry.chunk_storage_id_seq'),
  chunk_hash node_registry.sha256 not null,
  node_id bigint not null,
  block_index integer not null,
  assigned_at timestamptz not null,
  -- Assigned by repair, not for a client's upload: its confirmation is chunk.repaired, and no upload's end takes it away.
  is_repair boolean not null default false,
  -- Null: assigned, not yet confirmed by the node.
  stored_at timestamptz,
  -- The node was shut out after it had confirmed: the replica does not count, unless the node returns and reports it.
  lost_at timestamptz,
  verified_at timestamptz,
  next_proof_at timestamptz,
  proof_count integer not null default 0,
  constraint chunk_storage__chunk_node_unique unique (chunk_hash, node_id),
  constraint chunk_storage__node_exists foreign key (node_id) references node_registry.storage_nodes (id),
  constraint chunk_storage__lost_does_not_count check (lost_at is null or stored_at is null),
  constraint chunk_storage__block_index_not_negative check (block_index >= 0),
  constraint chunk_storage__proof_count_not_negative check (proof_count >= 0)
) partition by hash (chunk_hash);
alter sequence node_registry.chunk_storage_id_seq owned by node_registry.chunk_storage.id;
create index chunk_storage__node on node_registry.chunk_storage (node_id, chunk_hash);
do $$
begin
  for part in 0..7 loop
    execute format(
      'create table node_registry.chunk_storage_%s partition of node_registry.chunk_storage
         for values with (modulus 8, remainder %s) with (fillfactor = 80)', part, part);
  end loop;
end
$$;

-- reserving: quota is being asked for, nothing placed; failed: refused or left by a crash, kept only so that attempt
-- (half of the reservation's idempotency key) never repeats. Both do not exist for clients.
create table node_registry.uploads (
  upload_id uuid not null,
  user_id uuid not null,
  state text not null,
  attempt integer not null default 1,
  -- SHA-256 of what was asked: the same upload_id with other content is refused.
  fingerprint node_registry.sha256 not null,
  replicas smallint not null,
  chunk_count integer not null,
  -- What this attempt asks user-quota for: the distinct chunks that were new, 0 if none.
  reserved_bytes bigint not null,
  reservation_id uuid,
  -- Chunks below quorum; COMPLETED when it gets to 0.
  remaining_chunks integer not null default 0,
  -- Chunks that reached quorum on this upload's account.
  charged_chunks integer not null default 0,
  charged_bytes bigint not null default 0,
  created_at timestamptz not null,
  placed_at timestamptz,
  expires_at timestamptz,
  ended_at timestamptz,
  -- When the sweeper looks at it next: a crash's leftover, the end of the 24 hours, the end of a failed row. Null: never.
  due_at timestamptz,
  event_version bigint not null default 0,
  constraint uploads__pkey primary key (upload_id),
  constraint uploads__state_known check (state in ('reserving', 'failed', 'open', 'completed', 'expired')),
  constraint uploads__remaining_range check (remaining_chunks between 0 and chunk_count),
  constraint uploads__open_has_remaining check (state <> 'open' or remaining_chunks > 0),
  constraint uploads__completed_has_none check (state <> 'completed' or remaining_chunks = 0),
  constraint uploads__charges_consistent check ((charged_chunks = 0) = (charged_bytes = 0)),
  constraint uploads__placed_has_end check ((placed_at is null) = (expires_at is null))
) with (fillfactor = 80);
create index uploads__due on node_registry.uploads (due_at) where due_at is not null;
create index uploads__user on node_registry.uploads (user_id, upload_id);

-- Which upload uses which chunk. A chunk lives exactly as long as it has a row here.
create table node_registry.upload_chunks (
  upload_id uuid not null,
  chunk_hash node_registry.sha256 not null,
  block_index integer not null,
  constraint upload_chunks__pkey primary key (upload_id, chunk_hash),
  constraint upload_chunks__upload_exists foreign key (upload_id) references node_registry.uploads (upload_id)
);
create index upload_chunks__chunk on node_registry.upload_chunks (chunk_hash);

-- What a node still has to delete; the row goes when the node confirms. Until then it is no candidate for that hash:
-- a late confirmation of the old deletion could otherwise be taken for one of the new replica.
create table node_registry.chunk_deletions (
  chunk_hash node_registry.sha256 not null,
  node_id bigint not null,
  -- What a late report of that chunk is answered with.
  cause text not null,
  requested_at timestamptz not null,
  constraint chunk_deletions__pkey primary key (chunk_hash, node_id),
  constraint chunk_deletions__cause_known check (cause in ('released', 'upload_expired', 'not_placed'))
);
create index chunk_deletions__node on node_registry.chunk_deletions (node_id, chunk_hash);

-- Running figures per node, so that neither placement nor a heartbeat counts rows.
create table node_registry.node_holdings (
  node_id bigint not null,
  -- Assigned and not yet confirmed: space that the node's own figures do not show yet.
  assigned_chunks bigint not null default 0,
  assigned_bytes bigint not null default 0,
  confirmed_chunks bigint not null default 0,
  confirmed_bytes bigint not null default 0,
  -- Sum modulo 2^64 over the confirmed chunks of the first 8 bytes of SHA-256(chunk_hash).
  digest numeric(20, 0) not null default 0,
  digest_changed_at timestamptz not null default '-infinity',
  pending_deletions bigint not null default 0,
  -- Whether its replicas count as live. After a change a walk adjusts chunks.live_replicas hash by hash: up to walked_to
  -- the chunks follow the new value, behind it still the old one. Null: the walk is finished.
  is_available boolean not null default true,
  walked_to bytea,
  constraint node_holdings__pkey primary key (node_id),
  constraint node_holdings__node_exists foreign key (node_id) references node_registry.storage_nodes (id),
  constraint node_holdings__not_negative check (
    assigned_chunks >= 0 and assigned_bytes >= 0 and confirmed_chunks >= 0 and confirmed_bytes >= 0
    and pending_deletions >= 0),
  constraint node_holdings__digest_range check (digest >= 0 and digest < 18446744073709551616)
) with (fillfactor = 50);

-- Nodes that a client could not reach: no candidates again for that chunk while its upload lasts.
create table node_registry.replaced_nodes (
  upload_id uuid not null,
  chunk_hash node_registry.sha256 not null,
  node_id bigint not null,
  constraint replaced_nodes__pkey primary key (upload_id, chunk_hash, node_id)
);

-- Exactly the living chunks at quorum with fewer live replicas than wanted: kept with each change, never searched for.
create table node_registry.under_replicated_chunks (
  chunk_hash node_registry.sha256 not null,
  live_replicas smallint not null,
  wanted_replicas smallint not null,
  since timestamptz not null,
  constraint under_replicated_chunks__pkey primary key (chunk_hash),
  constraint under_replicated_chunks__is_short check (live_replicas < wanted_replicas)
) with (fillfactor = 80);
-- By urgency: the fewest live replicas first, then the most missing, then the longest in need.
create index under_replicated_chunks__urgency
  on node_registry.under_replicated_chunks (live_replicas, wanted_replicas desc, since, chunk_hash);

-- What chunk.stored and chunk.released events of a user sum up to. Locked before those events are appended, so whoever
-- holds the row knows that every event of the user with a lower outbox id is counted and none with a higher one is.
create table node_registry.user_usage (
  user_id uuid not null,
  charged_bytes bigint not null default 0,
  charged_chunks bigint not null default 0,
  constraint user_usage__pkey primary key (user_id),
  constraint user_usage__not_negative check (charged_bytes >= 0 and charged_chunks >= 0)
) with (fillfactor = 50);

-- Reservations of attempts that came to nothing, until user-quota has them back.
create table node_registry.reservation_returns (
  upload_id uuid not null,
  attempt integer not null,
  user_id uuid not null,
  size_bytes bigint not null,
  -- Null: the answer never arrived; asking once more with the same key tells whether there is one.
  reservation_id uuid,
  due_at timestamptz not null,
  tries integer not null default 0,
  constraint reservation_returns__pkey primary key (upload_id, attempt)
);
create index reservation_returns__due on node_registry.reservation_returns (due_at);

-- Users that user.deleted told of: nothing is placed for them, and a worker ends what they had. Kept: no personal data.
create table node_registry.deleted_users (
  user_id uuid not null,
  deleted_at timestamptz not null,
  purged_at timestamptz,
  constraint deleted_users__pkey primary key (user_id)
);
create index deleted_users__to_purge on node_registry.deleted_users (deleted_at) where purged_at is null;

-- The original document's shape.
create view node_registry.current_chunk_storage as
  select s.id, encode(s.chunk_hash, 'hex') as chunk_hash, encode(n.node_id, 'hex') as node_id, s.block_index,
    s.stored_at, s.verified_at, s.proof_count
  from node_registry.chunk_storage s
  join node_registry.storage_nodes n on n.id = s.node_id;

grant usage on sequence node_registry.chunk_storage_id_seq to node_registry_app;
grant select, insert, update on node_registry.chunks, node_registry.node_holdings to node_registry_app;
grant select, insert, update, delete on node_registry.chunk_storage, node_registry.uploads, node_registry.upload_chunks,
  node_registry.chunk_deletions, node_registry.replaced_nodes, node_registry.under_replicated_chunks,
  node_registry.user_usage, node_registry.reservation_returns, node_registry.deleted_users to node_registry_app;
grant select on node_registry.current_chunk_storage to node_registry_app;
