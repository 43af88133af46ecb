set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- One row per sign-in, however often it is refreshed. A refresh token is this row's id and generation under a MAC, so
-- that no token and no hash of one has to be stored. Nothing that a refresh writes is indexed: updates stay HOT.
create table auth.sessions (
  id uuid not null,
  user_id uuid not null,
  -- Of the newest refresh token; the one before is answered again for a moment, every older one is theft.
  generation integer not null default 1,
  created_at timestamptz not null,
  -- The last login or refresh.
  rotated_at timestamptz not null,
  idle_expires_at timestamptz not null,
  absolute_expires_at timestamptz not null,
  -- What the newest access token was made of, so that a repeated answer is the same to the byte.
  token_issued_at timestamptz not null,
  token_key_id text not null,
  token_is_admin boolean not null,
  client_address text not null default '',
  user_agent text not null default '',
  revoked_at timestamptz,
  revoked_reason text,
  constraint sessions__pkey primary key (id),
  constraint sessions__user_exists foreign key (user_id) references auth.users (id) on delete cascade,
  constraint sessions__generation_positive check (generation > 0),
  constraint sessions__idle_within_absolute check (idle_expires_at <= absolute_expires_at),
  constraint sessions__token_whole_second check (token_issued_at = date_trunc('second', token_issued_at)),
  constraint sessions__revoked_with_reason check ((revoked_at is null) = (revoked_reason is null)),
  constraint sessions__user_agent_length check (length(user_agent) <= 256)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

create index sessions__user_id on auth.sessions (user_id);
create index sessions__absolute_expires_at on auth.sessions (absolute_expires_at);

grant select, insert, update, delete on auth.sessions to auth_app;
