set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- The permanent guard against charging or refunding one life of a chunk twice. Unlike the inbox it is never forgotten, so
-- a replay of everything, years later, changes nothing. Three states, and no way back:
--   charged      its quorum was heard of and posted
--   forestalled  its release was heard of first; nothing is posted until the quorum comes
--   released     both were heard of; what was charged is refunded
create table user_quota.charges (
  user_id uuid not null,
  chunk_hash user_quota.sha256 not null,
  generation integer not null,
  state text not null,
  size_bytes bigint not null,
  constraint charges__pkey primary key (user_id, chunk_hash, generation),
  constraint charges__generation_positive check (generation > 0),
  constraint charges__size_not_negative check (size_bytes >= 0),
  constraint charges__state_known check (state in ('charged', 'forestalled', 'released'))
);

-- Every change of an account, for ever. Partitioned by user: one user's entries lie in one partition, so that a page of a
-- ledger costs the same however many users there are.
create table user_quota.ledger_entries (
  user_id uuid not null,
  -- 1, 2, ... per user: a missing number is a missing entry.
  entry_id bigint not null,
  delta_bytes bigint not null,
  used_before_bytes bigint not null,
  used_after_bytes bigint not null,
  storage_quota_bytes bigint not null,
  created_at timestamptz not null,
  event_id uuid,
  -- Outbox id of that event at its source: lets the ledger be read as it stood at a position of the source.
  source_position bigint,
  upload_id uuid,
  reservation_id uuid,
  generation integer,
  is_anomaly boolean not null,
  kind text not null,
  chunk_hash user_quota.sha256,
  actor_id text not null,
  reason text,
  constraint ledger_entries__pkey primary key (user_id, entry_id),
  constraint ledger_entries__adds_up check (used_after_bytes = used_before_bytes + delta_bytes),
  constraint ledger_entries__kind_known check (
    kind in ('opening', 'charge', 'late_charge', 'refund', 'adjustment', 'quota_change')
  ),
  constraint ledger_entries__chunk_complete check ((chunk_hash is null) = (generation is null)),
  constraint ledger_entries__has_a_cause check (
    (event_id is not null and source_position is not null) or reason is not null
  )
) partition by hash (user_id);

create function user_quota.refuse_ledger_change() returns trigger
language plpgsql
as $$
begin
  raise exception 'ledger entries are never changed or deleted: post an adjustment instead'
    using errcode = 'restrict_violation', schema = 'user_quota', table = 'ledger_entries';
end
$$;

create trigger ledger_entries__append_only before update or delete on user_quota.ledger_entries
for each row execute function user_quota.refuse_ledger_change();

-- A truncate trigger is not inherited, unlike the row trigger above.
create trigger ledger_entries__no_truncate before truncate on user_quota.ledger_entries
for each statement execute function user_quota.refuse_ledger_change();

do $$
begin
  for remainder in 0..7 loop
    execute format(
      'create table user_quota.ledger_entries_%s partition of user_quota.ledger_entries '
      'for values with (modulus 8, remainder %s)', remainder, remainder);
    execute format(
      'create trigger ledger_entries__no_truncate before truncate on user_quota.ledger_entries_%s '
      'for each statement execute function user_quota.refuse_ledger_change()', remainder);
  end loop;
end
$$;

grant select, insert, update on user_quota.charges to user_quota_app;
grant select, insert on user_quota.ledger_entries to user_quota_app;
