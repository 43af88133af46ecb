set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- One row per user: the counters that every decision on quota reads and writes under this row's lock.
--
-- The lock order is the same everywhere: account, then its reservations, then its charges, several accounts by user_id.
-- Reservations and charges of a user change only under the lock of the user's account, so they need none of their own.
create table user_quota.accounts (
  user_id uuid not null,
  -- The sum of the user's ledger. It may pass the limit (a stored chunk is a fact) and, as a recorded anomaly, zero.
  storage_used_bytes bigint not null default 0,
  -- The sum of held_bytes of the user's reservations, overdue ones included until someone folds them out.
  storage_reserved_bytes bigint not null default 0,
  storage_quota_bytes bigint not null default 10737418240,
  -- What the user was imported with: the part of the use that node-registry knows nothing of.
  opening_bytes bigint not null default 0,
  -- Number of the last ledger entry: entries of one user are numbered without gaps.
  last_entry_id bigint not null default 0,
  -- Version of the last event under this user's key.
  event_version bigint not null default 0,
  -- Version of the last user.* event that decided the state: events that come out of order must not turn it back.
  user_version bigint not null default 0,
  -- The highest threshold that was announced and is not re-armed; 0 for none.
  threshold_percent integer not null default 0,
  state text not null default 'active',
  -- Opened by a fact or by the user's own call, before the registration was heard of.
  is_provisional boolean not null default false,
  quota_source text not null default 'default',
  quota_actor_id text,
  quota_reason text,
  quota_set_at timestamptz not null,
  created_at timestamptz not null,
  -- Stored for the partial index below: it changes only when the limit is passed, so counting stays a HOT update.
  is_over_quota boolean not null generated always as (storage_used_bytes > storage_quota_bytes) stored,
  constraint accounts__pkey primary key (user_id),
  constraint accounts__reserved_not_negative check (storage_reserved_bytes >= 0),
  constraint accounts__quota_not_negative check (storage_quota_bytes >= 0),
  constraint accounts__opening_not_negative check (opening_bytes >= 0),
  constraint accounts__state_known check (state in ('active', 'inactive', 'closed')),
  constraint accounts__threshold_known check (threshold_percent in (0, 80, 90, 100)),
  constraint accounts__quota_source_known check (quota_source in ('default', 'admin', 'import')),
  constraint accounts__admin_quota_signed check (
    quota_source <> 'admin' or (quota_actor_id is not null and quota_reason is not null)
  )
) with (fillfactor = 80);

create index accounts__over_quota on user_quota.accounts (user_id) where is_over_quota;

-- How far the events of another service were applied: the highest outbox id of the source that was committed here.
create table user_quota.consumed_positions (
  source text not null,
  position bigint not null,
  constraint consumed_positions__pkey primary key (source)
);

grant select, insert, update on user_quota.accounts to user_quota_app;
grant select, insert, update on user_quota.consumed_positions to user_quota_app;
