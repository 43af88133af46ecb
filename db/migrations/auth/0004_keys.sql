set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- Ed25519 keys of access tokens. `next` is published before it signs and `previous` until its last token has ended, so
-- that a rotation never makes a verifier refuse a valid token. Private parts are sealed with KEY_ENCRYPTION_KEY.
create table auth.signing_keys (
  key_id text not null,
  state text not null,
  public_key bytea not null,
  private_key_sealed bytea not null,
  created_at timestamptz not null,
  current_since timestamptz,
  previous_since timestamptz,
  constraint signing_keys__pkey primary key (key_id),
  constraint signing_keys__state_known check (state in ('next', 'current', 'previous')),
  constraint signing_keys__public_key_length check (length(public_key) = 32),
  constraint signing_keys__current_has_start check (state = 'next' or current_since is not null),
  constraint signing_keys__previous_has_start check ((state = 'previous') = (previous_since is not null))
);

create unique index signing_keys__one_next on auth.signing_keys (state) where state = 'next';
create unique index signing_keys__one_current on auth.signing_keys (state) where state = 'current';

-- Symmetric keys of the service itself, one per purpose, sealed with KEY_ENCRYPTION_KEY.
create table auth.secrets (
  purpose text not null,
  secret_sealed bytea not null,
  created_at timestamptz not null,
  constraint secrets__pkey primary key (purpose)
);

grant select, insert, update, delete on auth.signing_keys to auth_app;
grant select, insert, update on auth.secrets to auth_app;
