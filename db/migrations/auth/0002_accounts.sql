set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- One row per user. Names and addresses are stored as they were typed and, beside it, as they are compared.
create table auth.users (
  id uuid not null,
  username varchar(80) collate "C" not null,
  -- NFKC, case folded: what is unique, sorted and searched by. The "C" collation makes prefixes ranges of the index.
  username_key text collate "C" not null,
  email varchar(120),
  email_key text collate "C",
  -- PHC string (argon2id) or, for imported users until their next login, a bcrypt string.
  password_hash varchar(255) not null,
  -- Raised when the password changes, not when its hash is renewed: a login that began before a change fails after it.
  password_version integer not null default 1,
  -- The client's key-derivation salt. The user's files hang on it: nothing but the creation of the row writes it.
  salt varchar(64) not null,
  created_at timestamptz not null,
  last_login timestamptz,
  is_active boolean not null default true,
  is_admin boolean not null default false,
  -- Version of the last event under this user's key, raised under the row lock.
  event_version bigint not null default 0,
  -- Access tokens issued at or before this whole second are refused everywhere.
  valid_after timestamptz,
  -- Seals what the audit trail keeps about the person. It goes with the row, and what it sealed is then unreadable.
  personal_key bytea not null,
  constraint users__pkey primary key (id),
  constraint users__username_unique unique (username),
  constraint users__username_key_unique unique (username_key),
  constraint users__email_unique unique (email),
  constraint users__email_key_unique unique (email_key),
  constraint users__username_not_empty check (username <> '' and username_key <> ''),
  constraint users__email_with_key check ((email is null) = (email_key is null)),
  constraint users__hash_not_empty check (password_hash <> ''),
  constraint users__salt_not_empty check (salt <> ''),
  constraint users__valid_after_whole_second check (valid_after = date_trunc('second', valid_after)),
  constraint users__personal_key_length check (length(personal_key) = 32)
) with (fillfactor = 85);

-- The last admin is found, and locked, without looking at everybody else.
create index users__active_admins on auth.users (id) where is_admin and is_active;

-- key_salt never changes on its own, whoever writes the row and by whatever mistake.
create function auth.refuse_salt_change() returns trigger
  language plpgsql
  set search_path = ''
  as $$
begin
  raise exception 'the salt of a user never changes' using errcode = '23514', constraint = 'users__salt_fixed';
end
$$;

create trigger users__salt_fixed before update of salt on auth.users
  for each row when (old.salt is distinct from new.salt) execute function auth.refuse_salt_change();

grant select, insert, update, delete on auth.users to auth_app;
