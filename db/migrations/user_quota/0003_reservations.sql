set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- Quota set aside for uploads under way (two-phase, as TigerBeetle's pending transfers are).
create table user_quota.reservations (
  reservation_id uuid not null,
  user_id uuid not null,
  -- The service client that holds it, and the key that the client chose for it.
  client_id text not null,
  idempotency_key text not null,
  size_bytes bigint not null,
  -- What its chunks have moved to the used bytes; facts may take it above the size.
  posted_bytes bigint not null default 0,
  -- What it adds to the account's storage_reserved_bytes now.
  held_bytes bigint not null,
  -- What will be posted in all, known once its upload has ended (CLOSING).
  expected_bytes bigint,
  state text not null default 'held',
  created_at timestamptz not null,
  expires_at timestamptz not null,
  closed_at timestamptz,
  constraint reservations__pkey primary key (reservation_id),
  constraint reservations__account foreign key (user_id) references user_quota.accounts (user_id),
  constraint reservations__key_once unique (user_id, client_id, idempotency_key),
  constraint reservations__size_positive check (size_bytes > 0),
  constraint reservations__posted_not_negative check (posted_bytes >= 0),
  constraint reservations__held_within_size check (held_bytes between 0 and size_bytes),
  constraint reservations__state_known check (state in ('held', 'closing', 'closed', 'released', 'expired')),
  constraint reservations__ended_holds_nothing check (
    (state in ('held', 'closing') and closed_at is null) or (held_bytes = 0 and closed_at is not null)
  ),
  constraint reservations__closing_knows_its_end check (state <> 'closing' or expected_bytes is not null)
) with (fillfactor = 80);

create index reservations__living on user_quota.reservations (user_id, expires_at) where state in ('held', 'closing');
create index reservations__expiring on user_quota.reservations (expires_at) where state in ('held', 'closing');

grant select, insert, update on user_quota.reservations to user_quota_app;
