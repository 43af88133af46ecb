set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- Every security event. Rows name users only by id; the address, the one personal thing, is sealed with the key in the
-- user's row, so that deleting a user makes it unreadable without changing the trail.
create table auth.audit_events (
  occurred_at timestamptz not null,
  audit_event_id uuid not null,
  -- Values of AuditEventType and AuditResult without prefix.
  type text not null,
  result text not null,
  actor_id text not null default '',
  user_id uuid,
  session_id uuid,
  client_id text not null default '',
  -- In clear only where no user is concerned.
  client_address text not null default '',
  client_address_sealed bytea,
  sealed_for uuid,
  error_reason text not null default '',
  reason text not null default '',
  constraint audit_events__pkey primary key (occurred_at, audit_event_id),
  constraint audit_events__type_form check (type ~ '^[A-Z][A-Z_]{1,60}$'),
  constraint audit_events__result_known check (result in ('SUCCEEDED', 'REFUSED')),
  constraint audit_events__refusal_has_reason check ((result = 'REFUSED') = (error_reason <> '')),
  constraint audit_events__sealed_for_someone check ((client_address_sealed is null) = (sealed_for is null)),
  constraint audit_events__address_once check (client_address_sealed is null or client_address = '')
);

create index audit_events__user on auth.audit_events (user_id, occurred_at, audit_event_id) where user_id is not null;
create index audit_events__actor on auth.audit_events (actor_id, occurred_at, audit_event_id) where actor_id <> '';
create index audit_events__type on auth.audit_events (type, occurred_at, audit_event_id);

-- Append-only for everyone: the application role has no right to change rows, and the owner meets the trigger.
create function auth.refuse_audit_change() returns trigger
  language plpgsql
  set search_path = ''
  as $$
begin
  raise exception 'auth.audit_events is append-only' using errcode = '42501';
end
$$;

create trigger audit_events__append_only before update or delete or truncate on auth.audit_events
  for each statement execute function auth.refuse_audit_change();

grant select, insert on auth.audit_events to auth_app;
