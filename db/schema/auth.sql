-- Made from the migrations by npm run generate; never edited.

-- domains
sha256 as bytea sha256__length CHECK ((octet_length(VALUE) = 32))

-- sequences
outbox_id as bigint increment 1

-- tables
audit_events partition by range (occurred_at) (
  occurred_at timestamp with time zone not null,
  audit_event_id uuid not null,
  type text not null,
  result text not null,
  actor_id text not null default ''::text,
  user_id uuid,
  session_id uuid,
  client_id text not null default ''::text,
  client_address text not null default ''::text,
  client_address_sealed bytea,
  sealed_for uuid,
  error_reason text not null default ''::text,
  reason text not null default ''::text
)
audit_events_default partition of auth.audit_events default
inbox partition by range (event_time) (
  consumer text not null,
  event_id uuid not null,
  event_time timestamp with time zone not null,
  applied_at timestamp with time zone not null default now()
)
inbox_default partition of auth.inbox default
inbox_positions (
  consumer text not null,
  stream_created_at timestamp with time zone not null,
  read_up_to bigint not null,
  read_at timestamp with time zone not null default now()
)
leases (
  name text not null,
  holder uuid not null,
  epoch bigint not null,
  expires_at timestamp with time zone not null
)
login_throttles with (fillfactor=70, autovacuum_vacuum_scale_factor=0.05) (
  key auth.sha256 not null,
  failures integer not null default 0,
  last_failure_at timestamp with time zone,
  in_flight integer not null default 0,
  in_flight_until timestamp with time zone,
  trusted_until timestamp with time zone
)
outbox partition by range (created_at) (
  id bigint not null default nextval('auth.outbox_id'::regclass),
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
outbox_default partition of auth.outbox default
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
rate_limits with (fillfactor=70, autovacuum_vacuum_scale_factor=0.05) (
  key auth.sha256 not null,
  full_at timestamp with time zone not null
)
schema_migrations (
  version integer not null,
  name text not null,
  checksum text not null,
  needs_code integer,
  applied_at timestamp with time zone not null default now(),
  duration_ms integer not null
)
secrets (
  purpose text not null,
  secret_sealed bytea not null,
  created_at timestamp with time zone not null
)
service_clients (
  client_id text not null,
  name text not null collate "C",
  scopes text[] not null,
  secret_hash auth.sha256 not null,
  previous_secret_hash auth.sha256,
  secret_created_at timestamp with time zone not null,
  created_at timestamp with time zone not null,
  last_used_at timestamp with time zone,
  revoked_at timestamp with time zone
)
sessions with (fillfactor=70, autovacuum_vacuum_scale_factor=0.05) (
  id uuid not null,
  user_id uuid not null,
  generation integer not null default 1,
  created_at timestamp with time zone not null,
  rotated_at timestamp with time zone not null,
  idle_expires_at timestamp with time zone not null,
  absolute_expires_at timestamp with time zone not null,
  token_issued_at timestamp with time zone not null,
  token_key_id text not null,
  token_is_admin boolean not null,
  client_address text not null default ''::text,
  user_agent text not null default ''::text,
  revoked_at timestamp with time zone,
  revoked_reason text
)
signing_keys (
  key_id text not null,
  state text not null,
  public_key bytea not null,
  private_key_sealed bytea not null,
  created_at timestamp with time zone not null,
  current_since timestamp with time zone,
  previous_since timestamp with time zone
)
users with (fillfactor=85) (
  id uuid not null,
  username character varying(80) not null collate "C",
  username_key text not null collate "C",
  email character varying(120),
  email_key text collate "C",
  password_hash character varying(255) not null,
  password_version integer not null default 1,
  salt character varying(64) not null,
  created_at timestamp with time zone not null,
  last_login timestamp with time zone,
  is_active boolean not null default true,
  is_admin boolean not null default false,
  event_version bigint not null default 0,
  valid_after timestamp with time zone,
  personal_key bytea not null
)

-- constraints
audit_events: audit_events__address_once CHECK (((client_address_sealed IS NULL) OR (client_address = ''::text)))
audit_events: audit_events__pkey PRIMARY KEY (occurred_at, audit_event_id)
audit_events: audit_events__refusal_has_reason CHECK (((result = 'REFUSED'::text) = (error_reason <> ''::text)))
audit_events: audit_events__result_known CHECK ((result = ANY (ARRAY['SUCCEEDED'::text, 'REFUSED'::text])))
audit_events: audit_events__sealed_for_someone CHECK (((client_address_sealed IS NULL) = (sealed_for IS NULL)))
audit_events: audit_events__type_form CHECK ((type ~ '^[A-Z][A-Z_]{1,60}$'::text))
inbox: inbox__pkey PRIMARY KEY (consumer, event_id, event_time)
inbox_positions: inbox_positions__pkey PRIMARY KEY (consumer)
leases: leases__pkey PRIMARY KEY (name)
login_throttles: login_throttles__failures_dated CHECK (((failures = 0) OR (last_failure_at IS NOT NULL)))
login_throttles: login_throttles__failures_not_negative CHECK ((failures >= 0))
login_throttles: login_throttles__in_flight_not_negative CHECK ((in_flight >= 0))
login_throttles: login_throttles__pkey PRIMARY KEY (key)
outbox: outbox__key_version CHECK ((key_version > 0))
outbox: outbox__pkey PRIMARY KEY (id, created_at)
outbox_streams: outbox_streams__pkey PRIMARY KEY (stream)
partitioned_tables: partitioned_tables__days CHECK (((behind_days >= 0) AND (ahead_days >= 1) AND (keep_days >= 1)))
partitioned_tables: partitioned_tables__pkey PRIMARY KEY (table_name)
partitioned_tables: partitioned_tables__span_known CHECK ((span = ANY (ARRAY['day'::text, 'month'::text])))
rate_limits: rate_limits__pkey PRIMARY KEY (key)
schema_migrations: schema_migrations__pkey PRIMARY KEY (version)
secrets: secrets__pkey PRIMARY KEY (purpose)
service_clients: service_clients__client_id_form CHECK ((client_id ~ '^[a-z0-9][a-z0-9_-]{0,63}$'::text))
service_clients: service_clients__name_length CHECK (((length(name) >= 1) AND (length(name) <= 80)))
service_clients: service_clients__pkey PRIMARY KEY (client_id)
service_clients: service_clients__scopes_not_empty CHECK ((cardinality(scopes) > 0))
sessions: sessions__generation_positive CHECK ((generation > 0))
sessions: sessions__idle_within_absolute CHECK ((idle_expires_at <= absolute_expires_at))
sessions: sessions__pkey PRIMARY KEY (id)
sessions: sessions__revoked_with_reason CHECK (((revoked_at IS NULL) = (revoked_reason IS NULL)))
sessions: sessions__token_whole_second CHECK ((token_issued_at = date_trunc('second'::text, token_issued_at)))
sessions: sessions__user_agent_length CHECK ((length(user_agent) <= 256))
sessions: sessions__user_exists FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE
signing_keys: signing_keys__current_has_start CHECK (((state = 'next'::text) OR (current_since IS NOT NULL)))
signing_keys: signing_keys__pkey PRIMARY KEY (key_id)
signing_keys: signing_keys__previous_has_start CHECK (((state = 'previous'::text) = (previous_since IS NOT NULL)))
signing_keys: signing_keys__public_key_length CHECK ((length(public_key) = 32))
signing_keys: signing_keys__state_known CHECK ((state = ANY (ARRAY['next'::text, 'current'::text, 'previous'::text])))
users: users__email_key_unique UNIQUE (email_key)
users: users__email_unique UNIQUE (email)
users: users__email_with_key CHECK (((email IS NULL) = (email_key IS NULL)))
users: users__hash_not_empty CHECK (((password_hash)::text <> ''::text))
users: users__personal_key_length CHECK ((length(personal_key) = 32))
users: users__pkey PRIMARY KEY (id)
users: users__salt_not_empty CHECK (((salt)::text <> ''::text))
users: users__username_key_unique UNIQUE (username_key)
users: users__username_not_empty CHECK ((((username)::text <> ''::text) AND (username_key <> ''::text)))
users: users__username_unique UNIQUE (username)
users: users__valid_after_whole_second CHECK ((valid_after = date_trunc('second'::text, valid_after)))

-- indexes
CREATE INDEX audit_events__actor ON ONLY auth.audit_events USING btree (actor_id, occurred_at, audit_event_id) WHERE (actor_id <> ''::text)
CREATE INDEX audit_events__type ON ONLY auth.audit_events USING btree (type, occurred_at, audit_event_id)
CREATE INDEX audit_events__user ON ONLY auth.audit_events USING btree (user_id, occurred_at, audit_event_id) WHERE (user_id IS NOT NULL)
CREATE INDEX outbox__unpublished ON ONLY auth.outbox USING btree (id) WHERE (published_at IS NULL)
CREATE INDEX service_clients__by_name ON auth.service_clients USING btree (name, client_id)
CREATE UNIQUE INDEX service_clients__name_unique ON auth.service_clients USING btree (name) WHERE (revoked_at IS NULL)
CREATE INDEX sessions__absolute_expires_at ON auth.sessions USING btree (absolute_expires_at)
CREATE INDEX sessions__user_id ON auth.sessions USING btree (user_id)
CREATE UNIQUE INDEX signing_keys__one_current ON auth.signing_keys USING btree (state) WHERE (state = 'current'::text)
CREATE UNIQUE INDEX signing_keys__one_next ON auth.signing_keys USING btree (state) WHERE (state = 'next'::text)
CREATE INDEX users__active_admins ON auth.users USING btree (id) WHERE (is_admin AND is_active)

-- functions
CREATE OR REPLACE FUNCTION auth.counted_failures(failures integer, last_failure_at timestamp with time zone, at timestamp with time zone)
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    select case
      when last_failure_at is null then failures
      when extract(epoch from at - last_failure_at) >= 31 * 3600 then 0
      else floor(failures / power(2, floor(greatest(extract(epoch from at - last_failure_at), 0) / 3600)))::integer
    end
  $function$

CREATE OR REPLACE FUNCTION auth.create_partition(target auth.partitioned_tables, day date)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  partition text := format('%s_p%s', target.table_name, to_char(day, 'YYYYMMDD'));
  lower_bound text := format('%s 00:00:00+00', day);
  upper_bound text := format('%s 00:00:00+00', (day + ('1 ' || target.span)::interval)::date);
  move_rows text := format(
    'with late as (delete from auth.%I where %I >= %L and %I < %L returning *) insert into auth.%I select * from late',
    target.table_name || '_default', target.time_column, lower_bound, target.time_column, upper_bound, partition
  );
begin
  if to_regclass(format('auth.%I', partition)) is not null then
    return false;
  end if;
  -- Vacuumed early: outbox rows die once each, and the relay reads past the dead entries of its index.
  execute format(
    'create table auth.%I (like auth.%I including defaults including constraints) with (autovacuum_vacuum_scale_factor = 0.05)',
    partition, target.table_name
  );
  -- However many there are, nobody waits for them. Those that come meanwhile follow under the lock: with one row of this
  -- day or month left in the default partition the new one is refused, and where rows keep coming it would be every time.
  execute move_rows;
  execute format('lock table auth.%I in access exclusive mode', target.table_name || '_default');
  execute move_rows;
  execute format(
    'alter table auth.%I attach partition auth.%I for values from (%L) to (%L)',
    target.table_name, partition, lower_bound, upper_bound
  );
  return true;
end
$function$

CREATE OR REPLACE FUNCTION auth.is_partition_over(target auth.partitioned_tables, partition text, day date)
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
      'select exists (select from auth.%I where %I is null or %I > now() - make_interval(days => $1))',
      partition, target.settled_column, target.settled_column
    ) into has_live_rows using target.keep_days;
  end if;
  return not has_live_rows;
end
$function$

CREATE OR REPLACE FUNCTION auth.maintain_partitions()
 RETURNS TABLE(table_name text, created integer, dropped integer, busy integer, default_rows bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '500ms'
AS $function$
declare
  today date := (now() at time zone 'UTC')::date;
  target auth.partitioned_tables;
  first_day date;
  old record;
  over_partitions text[] := '{}';
  unread_tables text[] := '{}';
begin
  if not pg_try_advisory_xact_lock(hashtext('auth.maintain_partitions')) then
    return;
  end if;
  -- Whether a partition is over takes reading all of it. That comes first, because a dropped or a new partition locks its
  -- table against everybody until this function has ended.
  for target in select * from auth.partitioned_tables loop
    for old in
      select child.relname::text as partition, to_date(right(child.relname, 8), 'YYYYMMDD') as day
      from pg_inherits
      join pg_class as child on child.oid = pg_inherits.inhrelid
      where pg_inherits.inhparent = format('auth.%I', target.table_name)::regclass
        and child.relname ~ '_p[0-9]{8}$'
    loop
      begin
        if auth.is_partition_over(target, old.partition, old.day) then
          over_partitions := over_partitions || old.partition;
        end if;
      exception when lock_not_available then
        unread_tables := unread_tables || target.table_name;
      end;
    end loop;
  end loop;
  for target in select * from auth.partitioned_tables order by partitioned_tables.table_name loop
    table_name := target.table_name;
    created := 0;
    dropped := 0;
    busy := cardinality(array_positions(unread_tables, target.table_name));
    -- Before a new one is attached: whoever reads the table would then wait for its default partition, and the drop for them.
    for old in
      select child.relname::text as partition
      from pg_inherits
      join pg_class as child on child.oid = pg_inherits.inhrelid
      where pg_inherits.inhparent = format('auth.%I', target.table_name)::regclass
        and child.relname = any (over_partitions)
      order by child.relname
    loop
      begin
        execute format('drop table auth.%I', old.partition);
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
        created := created + auth.create_partition(target, first_day)::integer;
      exception when lock_not_available then
        busy := busy + 1;
      end;
    end loop;
    if target.keep_days is not null then
      execute format(
        'delete from auth.%I where %I < now() - make_interval(days => $1) and coalesce(%s < now() - make_interval(days => $1), %L)',
        target.table_name || '_default', target.time_column,
        coalesce(quote_ident(target.settled_column), 'null::timestamptz'), target.settled_column is null
      ) using target.keep_days;
    end if;
    execute format('select count(*) from auth.%I', target.table_name || '_default') into default_rows;
    return next;
  end loop;
end
$function$

CREATE OR REPLACE FUNCTION auth.refuse_audit_change()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
begin
  raise exception 'auth.audit_events is append-only' using errcode = '42501';
end
$function$

CREATE OR REPLACE FUNCTION auth.refuse_salt_change()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
begin
  raise exception 'the salt of a user never changes' using errcode = '23514', constraint = 'users__salt_fixed';
end
$function$

CREATE OR REPLACE FUNCTION auth.wait_after(failures integer)
 RETURNS interval
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    select case
      when failures < 10 then interval '0'
      else least(interval '15 minutes', interval '1 second' * power(2, least(failures - 10, 20)))
    end
  $function$


-- triggers
CREATE TRIGGER audit_events__append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON auth.audit_events FOR EACH STATEMENT EXECUTE FUNCTION auth.refuse_audit_change()
CREATE TRIGGER users__salt_fixed BEFORE UPDATE OF salt ON auth.users FOR EACH ROW WHEN (((old.salt)::text IS DISTINCT FROM (new.salt)::text)) EXECUTE FUNCTION auth.refuse_salt_change()

-- rights of other roles than the owner
column outbox.published_at: auth_app may update
column outbox.stream_sequence: auth_app may update
function counted_failures: everybody may execute
function maintain_partitions: auth_app may execute
function refuse_audit_change: everybody may execute
function refuse_salt_change: everybody may execute
function wait_after: everybody may execute
schema auth: auth_app may usage
sequence outbox_id: auth_app may usage
table audit_events: auth_app may insert, select
table inbox: auth_app may insert, select
table inbox_positions: auth_app may insert, select, update
table leases: auth_app may insert, select, update
table login_throttles: auth_app may delete, insert, select, update
table outbox: auth_app may insert, select
table outbox_streams: auth_app may insert, select, update
table partitioned_tables: auth_app may select
table rate_limits: auth_app may delete, insert, select, update
table schema_migrations: auth_app may select
table secrets: auth_app may insert, select, update
table service_clients: auth_app may insert, select, update
table sessions: auth_app may delete, insert, select, update
table signing_keys: auth_app may delete, insert, select, update
table users: auth_app may delete, insert, select, update
