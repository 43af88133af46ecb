-- Made from the migrations by npm run generate; never edited.

-- domains
sha256 as bytea sha256__length CHECK ((octet_length(VALUE) = 32))

-- sequences
outbox_id as bigint increment 1

-- tables
accounts with (fillfactor=80) (
  user_id uuid not null,
  storage_used_bytes bigint not null default 0,
  storage_reserved_bytes bigint not null default 0,
  storage_quota_bytes bigint not null default '10737418240'::bigint,
  opening_bytes bigint not null default 0,
  last_entry_id bigint not null default 0,
  event_version bigint not null default 0,
  user_version bigint not null default 0,
  threshold_percent integer not null default 0,
  state text not null default 'active'::text,
  is_provisional boolean not null default false,
  quota_source text not null default 'default'::text,
  quota_actor_id text,
  quota_reason text,
  quota_set_at timestamp with time zone not null,
  created_at timestamp with time zone not null,
  is_over_quota boolean not null generated always as ((storage_used_bytes > storage_quota_bytes))
)
charges (
  user_id uuid not null,
  chunk_hash user_quota.sha256 not null,
  generation integer not null,
  state text not null,
  size_bytes bigint not null
)
consumed_positions (
  source text not null,
  position bigint not null
)
inbox partition by range (event_time) (
  consumer text not null,
  event_id uuid not null,
  event_time timestamp with time zone not null,
  applied_at timestamp with time zone not null default now(),
  given_up_sequence bigint
)
inbox_default partition of user_quota.inbox default
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
ledger_entries partition by hash (user_id) (
  user_id uuid not null,
  entry_id bigint not null,
  delta_bytes bigint not null,
  used_before_bytes bigint not null,
  used_after_bytes bigint not null,
  storage_quota_bytes bigint not null,
  created_at timestamp with time zone not null,
  event_id uuid,
  source_position bigint,
  upload_id uuid,
  reservation_id uuid,
  generation integer,
  is_anomaly boolean not null,
  kind text not null,
  chunk_hash user_quota.sha256,
  actor_id text not null,
  reason text
)
ledger_entries_0 partition of user_quota.ledger_entries for values with (modulus 8, remainder 0)
ledger_entries_1 partition of user_quota.ledger_entries for values with (modulus 8, remainder 1)
ledger_entries_2 partition of user_quota.ledger_entries for values with (modulus 8, remainder 2)
ledger_entries_3 partition of user_quota.ledger_entries for values with (modulus 8, remainder 3)
ledger_entries_4 partition of user_quota.ledger_entries for values with (modulus 8, remainder 4)
ledger_entries_5 partition of user_quota.ledger_entries for values with (modulus 8, remainder 5)
ledger_entries_6 partition of user_quota.ledger_entries for values with (modulus 8, remainder 6)
ledger_entries_7 partition of user_quota.ledger_entries for values with (modulus 8, remainder 7)
outbox partition by range (created_at) (
  id bigint not null default nextval('user_quota.outbox_id'::regclass),
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
outbox_default partition of user_quota.outbox default
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
  settled_column text
)
reservations with (fillfactor=80) (
  reservation_id uuid not null,
  user_id uuid not null,
  client_id text not null,
  idempotency_key text not null,
  size_bytes bigint not null,
  posted_bytes bigint not null default 0,
  held_bytes bigint not null,
  expected_bytes bigint,
  state text not null default 'held'::text,
  created_at timestamp with time zone not null,
  expires_at timestamp with time zone not null,
  closed_at timestamp with time zone
)
schema_migrations (
  version integer not null,
  name text not null,
  checksum text not null,
  needs_code integer,
  applied_at timestamp with time zone not null default now(),
  duration_ms integer not null
)

-- constraints
accounts: accounts__admin_quota_signed CHECK (((quota_source <> 'admin'::text) OR ((quota_actor_id IS NOT NULL) AND (quota_reason IS NOT NULL))))
accounts: accounts__opening_not_negative CHECK ((opening_bytes >= 0))
accounts: accounts__pkey PRIMARY KEY (user_id)
accounts: accounts__quota_not_negative CHECK ((storage_quota_bytes >= 0))
accounts: accounts__quota_source_known CHECK ((quota_source = ANY (ARRAY['default'::text, 'admin'::text, 'import'::text])))
accounts: accounts__reserved_not_negative CHECK ((storage_reserved_bytes >= 0))
accounts: accounts__state_known CHECK ((state = ANY (ARRAY['active'::text, 'inactive'::text, 'closed'::text])))
accounts: accounts__threshold_known CHECK ((threshold_percent = ANY (ARRAY[0, 80, 90, 100])))
charges: charges__generation_positive CHECK ((generation > 0))
charges: charges__pkey PRIMARY KEY (user_id, chunk_hash, generation)
charges: charges__size_not_negative CHECK ((size_bytes >= 0))
charges: charges__state_known CHECK ((state = ANY (ARRAY['charged'::text, 'forestalled'::text, 'released'::text])))
consumed_positions: consumed_positions__pkey PRIMARY KEY (source)
inbox: inbox__pkey PRIMARY KEY (consumer, event_id, event_time)
inbox_positions: inbox_positions__pkey PRIMARY KEY (consumer)
leases: leases__pkey PRIMARY KEY (name)
ledger_entries: ledger_entries__adds_up CHECK ((used_after_bytes = (used_before_bytes + delta_bytes)))
ledger_entries: ledger_entries__chunk_complete CHECK (((chunk_hash IS NULL) = (generation IS NULL)))
ledger_entries: ledger_entries__has_a_cause CHECK ((((event_id IS NOT NULL) AND (source_position IS NOT NULL)) OR (reason IS NOT NULL)))
ledger_entries: ledger_entries__kind_known CHECK ((kind = ANY (ARRAY['opening'::text, 'charge'::text, 'late_charge'::text, 'refund'::text, 'adjustment'::text, 'quota_change'::text])))
ledger_entries: ledger_entries__pkey PRIMARY KEY (user_id, entry_id)
outbox: outbox__key_version CHECK ((key_version > 0))
outbox: outbox__pkey PRIMARY KEY (id, created_at)
outbox_streams: outbox_streams__pkey PRIMARY KEY (stream)
partitioned_tables: partitioned_tables__days CHECK (((behind_days >= 0) AND (ahead_days >= 1) AND (keep_days >= 1)))
partitioned_tables: partitioned_tables__pkey PRIMARY KEY (table_name)
reservations: reservations__account FOREIGN KEY (user_id) REFERENCES user_quota.accounts(user_id)
reservations: reservations__closing_knows_its_end CHECK (((state <> 'closing'::text) OR (expected_bytes IS NOT NULL)))
reservations: reservations__ended_holds_nothing CHECK ((((state = ANY (ARRAY['held'::text, 'closing'::text])) AND (closed_at IS NULL)) OR ((held_bytes = 0) AND (closed_at IS NOT NULL))))
reservations: reservations__held_within_size CHECK (((held_bytes >= 0) AND (held_bytes <= size_bytes)))
reservations: reservations__key_once UNIQUE (user_id, client_id, idempotency_key)
reservations: reservations__pkey PRIMARY KEY (reservation_id)
reservations: reservations__posted_not_negative CHECK ((posted_bytes >= 0))
reservations: reservations__size_positive CHECK ((size_bytes > 0))
reservations: reservations__state_known CHECK ((state = ANY (ARRAY['held'::text, 'closing'::text, 'closed'::text, 'released'::text, 'expired'::text])))
schema_migrations: schema_migrations__pkey PRIMARY KEY (version)

-- indexes
CREATE INDEX accounts__crossed ON user_quota.accounts USING btree (user_id) WHERE (threshold_percent > 0)
CREATE INDEX accounts__over_quota ON user_quota.accounts USING btree (user_id) WHERE is_over_quota
CREATE INDEX outbox__unpublished ON ONLY user_quota.outbox USING btree (id) WHERE (published_at IS NULL)
CREATE INDEX reservations__ended ON user_quota.reservations USING btree (closed_at) WHERE (closed_at IS NOT NULL)
CREATE INDEX reservations__expiring ON user_quota.reservations USING btree (expires_at) WHERE (state = ANY (ARRAY['held'::text, 'closing'::text]))
CREATE INDEX reservations__living ON user_quota.reservations USING btree (user_id, expires_at) WHERE (state = ANY (ARRAY['held'::text, 'closing'::text]))

-- functions
CREATE OR REPLACE FUNCTION user_quota.create_partition(target user_quota.partitioned_tables, day date)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  partition text := format('%s_p%s', target.table_name, to_char(day, 'YYYYMMDD'));
  lower_bound text := format('%s 00:00:00+00', day);
  upper_bound text := format('%s 00:00:00+00', day + 1);
  move_rows text := format(
    'with late as (delete from user_quota.%I where %I >= %L and %I < %L returning *) insert into user_quota.%I select * from late',
    target.table_name || '_default', target.time_column, lower_bound, target.time_column, upper_bound, partition
  );
begin
  if to_regclass(format('user_quota.%I', partition)) is not null then
    return false;
  end if;
  -- Vacuumed early: outbox rows die once each, and the relay reads past the dead entries of its index.
  execute format(
    'create table user_quota.%I (like user_quota.%I including defaults including constraints) with (autovacuum_vacuum_scale_factor = 0.05)',
    partition, target.table_name
  );
  -- However many there are, nobody waits for them. Those that come meanwhile follow under the lock: with one row of this
  -- day left in the default partition the new one is refused, and where rows keep coming it would be every time.
  execute move_rows;
  execute format('lock table user_quota.%I in access exclusive mode', target.table_name || '_default');
  execute move_rows;
  execute format(
    'alter table user_quota.%I attach partition user_quota.%I for values from (%L) to (%L)',
    target.table_name, partition, lower_bound, upper_bound
  );
  return true;
end
$function$

CREATE OR REPLACE FUNCTION user_quota.is_partition_over(target user_quota.partitioned_tables, partition text, day date)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  has_live_rows boolean := false;
begin
  if target.keep_days is null or day + 1 + target.keep_days > (now() at time zone 'UTC')::date then
    return false;
  end if;
  if target.settled_column is not null then
    execute format(
      'select exists (select from user_quota.%I where %I is null or %I > now() - make_interval(days => $1))',
      partition, target.settled_column, target.settled_column
    ) into has_live_rows using target.keep_days;
  end if;
  return not has_live_rows;
end
$function$

CREATE OR REPLACE FUNCTION user_quota.maintain_partitions()
 RETURNS TABLE(table_name text, created integer, dropped integer, busy integer, default_rows bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '500ms'
AS $function$
declare
  today date := (now() at time zone 'UTC')::date;
  target user_quota.partitioned_tables;
  old record;
  over_partitions text[] := '{}';
  unread_tables text[] := '{}';
begin
  if not pg_try_advisory_xact_lock(hashtext('user_quota.maintain_partitions')) then
    return;
  end if;
  -- Whether a partition is over takes reading all of it. That comes first, because a dropped or a new partition locks its
  -- table against everybody until this function has ended.
  for target in select * from user_quota.partitioned_tables loop
    for old in
      select child.relname::text as partition, to_date(right(child.relname, 8), 'YYYYMMDD') as day
      from pg_inherits
      join pg_class as child on child.oid = pg_inherits.inhrelid
      where pg_inherits.inhparent = format('user_quota.%I', target.table_name)::regclass
        and child.relname ~ '_p[0-9]{8}$'
    loop
      begin
        if user_quota.is_partition_over(target, old.partition, old.day) then
          over_partitions := over_partitions || old.partition;
        end if;
      exception when lock_not_available then
        unread_tables := unread_tables || target.table_name;
      end;
    end loop;
  end loop;
  for target in select * from user_quota.partitioned_tables order by partitioned_tables.table_name loop
    table_name := target.table_name;
    created := 0;
    dropped := 0;
    busy := cardinality(array_positions(unread_tables, target.table_name));
    -- Before a new one is attached: whoever reads the table would then wait for its default partition, and the drop for them.
    for old in
      select child.relname::text as partition
      from pg_inherits
      join pg_class as child on child.oid = pg_inherits.inhrelid
      where pg_inherits.inhparent = format('user_quota.%I', target.table_name)::regclass
        and child.relname = any (over_partitions)
      order by child.relname
    loop
      begin
        execute format('drop table user_quota.%I', old.partition);
        dropped := dropped + 1;
      exception when lock_not_available then
        busy := busy + 1;
      end;
    end loop;
    for offset_days in -target.behind_days .. target.ahead_days loop
      begin
        created := created + user_quota.create_partition(target, today + offset_days)::integer;
      exception when lock_not_available then
        busy := busy + 1;
      end;
    end loop;
    if target.keep_days is not null then
      execute format(
        'delete from user_quota.%I where %I < now() - make_interval(days => $1) and coalesce(%s < now() - make_interval(days => $1), %L)',
        target.table_name || '_default', target.time_column,
        coalesce(quote_ident(target.settled_column), 'null::timestamptz'), target.settled_column is null
      ) using target.keep_days;
    end if;
    execute format('select count(*) from user_quota.%I', target.table_name || '_default') into default_rows;
    return next;
  end loop;
end
$function$

CREATE OR REPLACE FUNCTION user_quota.refuse_ledger_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  raise exception 'ledger entries are never changed or deleted: post an adjustment instead'
    using errcode = 'restrict_violation', schema = 'user_quota', table = 'ledger_entries';
end
$function$

CREATE OR REPLACE FUNCTION user_quota.try_reserve(reservation uuid, owner uuid, client text, key text, size bigint, made_at timestamp with time zone, ends_at timestamp with time zone)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
  update user_quota.accounts
  set storage_reserved_bytes = storage_reserved_bytes + size
  where user_id = owner and state = 'active'
    and storage_used_bytes::numeric + storage_reserved_bytes + size <= storage_quota_bytes;
  if not found then
    return false;
  end if;
  insert into user_quota.reservations
    (reservation_id, user_id, client_id, idempotency_key, size_bytes, held_bytes, created_at, expires_at)
  values (reservation, owner, client, key, size, size, made_at, ends_at)
  on conflict on constraint reservations__key_once do nothing;
  if not found then
    update user_quota.accounts set storage_reserved_bytes = storage_reserved_bytes - size where user_id = owner;
    return false;
  end if;
  return true;
end
$function$


-- triggers
CREATE TRIGGER ledger_entries__append_only BEFORE DELETE OR UPDATE ON user_quota.ledger_entries FOR EACH ROW EXECUTE FUNCTION user_quota.refuse_ledger_change()
CREATE TRIGGER ledger_entries__no_truncate BEFORE TRUNCATE ON user_quota.ledger_entries FOR EACH STATEMENT EXECUTE FUNCTION user_quota.refuse_ledger_change()
CREATE TRIGGER ledger_entries__no_truncate BEFORE TRUNCATE ON user_quota.ledger_entries_0 FOR EACH STATEMENT EXECUTE FUNCTION user_quota.refuse_ledger_change()
CREATE TRIGGER ledger_entries__no_truncate BEFORE TRUNCATE ON user_quota.ledger_entries_1 FOR EACH STATEMENT EXECUTE FUNCTION user_quota.refuse_ledger_change()
CREATE TRIGGER ledger_entries__no_truncate BEFORE TRUNCATE ON user_quota.ledger_entries_2 FOR EACH STATEMENT EXECUTE FUNCTION user_quota.refuse_ledger_change()
CREATE TRIGGER ledger_entries__no_truncate BEFORE TRUNCATE ON user_quota.ledger_entries_3 FOR EACH STATEMENT EXECUTE FUNCTION user_quota.refuse_ledger_change()
CREATE TRIGGER ledger_entries__no_truncate BEFORE TRUNCATE ON user_quota.ledger_entries_4 FOR EACH STATEMENT EXECUTE FUNCTION user_quota.refuse_ledger_change()
CREATE TRIGGER ledger_entries__no_truncate BEFORE TRUNCATE ON user_quota.ledger_entries_5 FOR EACH STATEMENT EXECUTE FUNCTION user_quota.refuse_ledger_change()
CREATE TRIGGER ledger_entries__no_truncate BEFORE TRUNCATE ON user_quota.ledger_entries_6 FOR EACH STATEMENT EXECUTE FUNCTION user_quota.refuse_ledger_change()
CREATE TRIGGER ledger_entries__no_truncate BEFORE TRUNCATE ON user_quota.ledger_entries_7 FOR EACH STATEMENT EXECUTE FUNCTION user_quota.refuse_ledger_change()

-- rights of other roles than the owner
column inbox.given_up_sequence: user_quota_app may update
column outbox.published_at: user_quota_app may update
column outbox.stream_sequence: user_quota_app may update
function maintain_partitions: user_quota_app may execute
function refuse_ledger_change: everybody may execute
function try_reserve: user_quota_app may execute
schema user_quota: user_quota_app may usage
sequence outbox_id: user_quota_app may usage
table accounts: user_quota_app may insert, select, update
table charges: user_quota_app may insert, select, update
table consumed_positions: user_quota_app may insert, select, update
table inbox: user_quota_app may insert, select
table inbox_positions: user_quota_app may insert, select, update
table leases: user_quota_app may insert, select, update
table ledger_entries: user_quota_app may insert, select
table outbox: user_quota_app may insert, select
table outbox_streams: user_quota_app may insert, select, update
table partitioned_tables: user_quota_app may select
table reservations: user_quota_app may delete, insert, select, update
table schema_migrations: user_quota_app may select
