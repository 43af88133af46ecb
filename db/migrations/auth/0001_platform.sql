set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- SHA-256: chunk hashes, node ids, token hashes. 32 bytes instead of 64 characters halve the big tables and indexes.
-- The rule is part of what SHA-256 is and never changes, so the domain is not in the way of online migrations.
-- squawk-ignore ban-create-domain-with-constraint
create domain auth.sha256 as bytea constraint sha256__length check (octet_length(value) = 32);

-- Events leave the service through here: written in the transaction of the change they tell of, published by the relay.
-- The id gives the order within a key, because a key's rows are written under its aggregate's row lock; across keys
-- ids commit out of order, so the relay asks for unpublished rows and never for "id above the last".
create sequence auth.outbox_id as bigint;

create table auth.outbox (
  id bigint not null default nextval('auth.outbox_id'),
  event_id uuid not null,
  -- NATS subject, with its prefix.
  subject text not null,
  key text not null,
  -- 1, 2, 3 ... for each key, without gaps: how a consumer notices that it missed one.
  key_version bigint not null,
  -- Full name of the protobuf message in payload.
  type text not null,
  payload bytea not null,
  traceparent text,
  created_at timestamptz not null default now(),
  published_at timestamptz,
  stream_sequence bigint,
  constraint outbox__pkey primary key (id, created_at),
  constraint outbox__key_version check (key_version > 0)
) partition by range (created_at);

-- What the relay reads: as small as the backlog, whatever the table holds.
create index outbox__unpublished on auth.outbox (id) where published_at is null;

create table auth.outbox_default partition of auth.outbox default;

-- The streams as the relay last saw them: another created_at or a lower last sequence means that JetStream was wiped.
create table auth.outbox_streams (
  stream text not null,
  created_at timestamptz not null,
  last_sequence bigint not null,
  constraint outbox_streams__pkey primary key (stream)
);

-- What consumers have applied; a row is inserted in the transaction of its effect. Partitioned by the event's time,
-- which is part of the key, so that the repeat of an event meets the row of the first delivery in the same partition.
create table auth.inbox (
  consumer text not null,
  event_id uuid not null,
  event_time timestamptz not null,
  applied_at timestamptz not null default now(),
  constraint inbox__pkey primary key (consumer, event_id, event_time)
) partition by range (event_time);

create table auth.inbox_default partition of auth.inbox default;

-- Leadership: the holder of a row leads until expires_at by the database's clock. Each change of holder raises the
-- epoch, and writes of a leader compare it, so that one that was paused cannot write after its successor began.
create table auth.leases (
  name text not null,
  holder uuid not null,
  epoch bigint not null,
  expires_at timestamptz not null,
  constraint leases__pkey primary key (name)
);

-- Tables partitioned by day. Rows are kept keep_days after the day they belong to, for ever where it is null; where
-- settled_column is named, also until that column is set and itself older than keep_days in every row.
create table auth.partitioned_tables (
  table_name text not null,
  time_column text not null,
  -- Days before today that get a partition when it is first made: events may arrive late, rows of now() do not.
  behind_days integer not null default 0,
  ahead_days integer not null default 3,
  keep_days integer,
  settled_column text,
  constraint partitioned_tables__pkey primary key (table_name),
  constraint partitioned_tables__days check (behind_days >= 0 and ahead_days >= 1 and keep_days >= 1)
);

insert into auth.partitioned_tables (table_name, time_column, behind_days, keep_days, settled_column)
values ('outbox', 'created_at', 0, 7, 'published_at'), ('inbox', 'event_time', 8, 30, null);

-- Makes the partition of one day. Rows that the default partition took in the meantime move into it.
create function auth.create_partition(target auth.partitioned_tables, day date) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  partition text := format('%s_p%s', target.table_name, to_char(day, 'YYYYMMDD'));
  lower_bound text := format('%s 00:00:00+00', day);
  upper_bound text := format('%s 00:00:00+00', day + 1);
begin
  if to_regclass(format('auth.%I', partition)) is not null then
    return false;
  end if;
  -- Vacuumed early: outbox rows die once each, and the relay reads past the dead entries of its index.
  execute format(
    'create table auth.%I (like auth.%I including defaults including constraints) with (autovacuum_vacuum_scale_factor = 0.05)',
    partition, target.table_name
  );
  execute format(
    'with late as (delete from auth.%I where %I >= %L and %I < %L returning *) insert into auth.%I select * from late',
    target.table_name || '_default', target.time_column, lower_bound, target.time_column, upper_bound, partition
  );
  execute format(
    'alter table auth.%I attach partition auth.%I for values from (%L) to (%L)',
    target.table_name, partition, lower_bound, upper_bound
  );
  return true;
end
$$;

-- Whether everything in a partition may go.
create function auth.is_partition_over(target auth.partitioned_tables, partition text, day date) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  has_live_rows boolean := false;
begin
  if target.keep_days is null or day + 1 + target.keep_days > (now() at time zone 'UTC')::date then
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
$$;

-- Makes the partitions of the next days and drops those that are over. The services call it hourly; one at a time
-- works, the others get no rows. A partition that is in use is counted as busy and left for the next call.
-- default_rows above zero means that rows came for a day without a partition: something did not run, or an event came
-- with a wrong clock.
create function auth.maintain_partitions()
returns table (table_name text, created integer, dropped integer, busy integer, default_rows bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
-- Whoever waits for an exclusive lock makes all later statements wait behind it.
set lock_timeout = '500ms'
as $$
declare
  today date := (now() at time zone 'UTC')::date;
  target auth.partitioned_tables;
  old record;
begin
  if not pg_try_advisory_xact_lock(hashtext('auth.maintain_partitions')) then
    return;
  end if;
  for target in select * from auth.partitioned_tables order by partitioned_tables.table_name loop
    table_name := target.table_name;
    created := 0;
    dropped := 0;
    busy := 0;
    for offset_days in -target.behind_days .. target.ahead_days loop
      begin
        created := created + auth.create_partition(target, today + offset_days)::integer;
      exception when lock_not_available then
        busy := busy + 1;
      end;
    end loop;
    for old in
      select child.relname::text as partition, to_date(right(child.relname, 8), 'YYYYMMDD') as day
      from pg_inherits
      join pg_class as child on child.oid = pg_inherits.inhrelid
      where pg_inherits.inhparent = format('auth.%I', target.table_name)::regclass
        and child.relname ~ '_p[0-9]{8}$'
      order by child.relname
    loop
      begin
        if auth.is_partition_over(target, old.partition, old.day) then
          execute format('drop table auth.%I', old.partition);
          dropped := dropped + 1;
        end if;
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
$$;

revoke all on function auth.create_partition(auth.partitioned_tables, date) from public;
revoke all on function auth.is_partition_over(auth.partitioned_tables, text, date) from public;
revoke all on function auth.maintain_partitions() from public;
grant execute on function auth.maintain_partitions() to auth_app;

select * from auth.maintain_partitions();

grant usage on sequence auth.outbox_id to auth_app;
grant select, insert, update (published_at, stream_sequence) on auth.outbox to auth_app;
grant select, insert, update on auth.outbox_streams to auth_app;
grant select, insert on auth.inbox to auth_app;
grant select, insert, update on auth.leases to auth_app;
grant select on auth.partitioned_tables to auth_app;
