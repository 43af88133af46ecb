set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- Accounts of internal services. Secrets have 256 random bits, so a plain SHA-256 keeps them; the newest and the one
-- before are valid, which leaves time to hand the newest out.
create table auth.service_clients (
  client_id text not null,
  name text collate "C" not null,
  scopes text[] not null,
  secret_hash auth.sha256 not null,
  previous_secret_hash auth.sha256,
  secret_created_at timestamptz not null,
  created_at timestamptz not null,
  last_used_at timestamptz,
  revoked_at timestamptz,
  constraint service_clients__pkey primary key (client_id),
  constraint service_clients__client_id_form check (client_id ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
  constraint service_clients__name_length check (length(name) between 1 and 80),
  constraint service_clients__scopes_not_empty check (cardinality(scopes) > 0)
);

create unique index service_clients__name_unique on auth.service_clients (name) where revoked_at is null;
create index service_clients__by_name on auth.service_clients (name, client_id);

grant select, insert, update on auth.service_clients to auth_app;
