set local lock_timeout = '5s';
set local statement_timeout = '10min';

-- What is kept for long is partitioned by month, because every query looks into each partition; the few tables of some
-- days stay partitioned by day.
alter table auth.partitioned_tables add column span text not null default 'day';
-- squawk-ignore constraint-missing-not-valid
alter table auth.partitioned_tables add constraint partitioned_tables__span_known check (span in ('day', 'month'));

-- Makes the partition of the day or month that begins with `day`. Rows that the default partition took in the meantime move into it.
create or replace function auth.create_partition(target auth.partitioned_tables, day date) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  partition text := format('%s_p%s', target.table_name, to_char(day, 'YYYYMMDD'));
  lower_bound text := format('%s 00:00:00+00', day);
  upper_bound text := format('%s 00:00:00+00', (day + ('1 ' || target.span)::interval)::date);
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
create or replace function auth.is_partition_over(target auth.partitioned_tables, partition text, day date) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
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
$$;

-- Makes the partitions of the days around today and drops those that are over. The services call it hourly; one at a time
-- works, the others get no rows. A partition that is in use is counted as busy and left for the next call.
-- default_rows above zero means that rows came for a day without a partition: something did not run, or an event came
-- with a wrong clock.
create or replace function auth.maintain_partitions()
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
  first_day date;
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

-- The audit trail by month. What is there becomes the first partition, with its indexes: nothing is copied.
do $$
declare
  first_part text := 'audit_events_p' || to_char(date_trunc('month', now() at time zone 'UTC'), 'YYYYMMDD');
  part text;
begin
  drop trigger audit_events__append_only on auth.audit_events;
  execute format('alter table auth.audit_events rename to %I', first_part);
  foreach part in array array['pkey', 'user', 'actor', 'type'] loop
    execute format('alter index auth.audit_events__%s rename to %I', part, first_part || '__' || part);
  end loop;
  execute format('revoke all on auth.%I from auth_app', first_part);
end
$$;

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
) partition by range (occurred_at);

create index audit_events__user on auth.audit_events (user_id, occurred_at, audit_event_id) where user_id is not null;
create index audit_events__actor on auth.audit_events (actor_id, occurred_at, audit_event_id) where actor_id <> '';
create index audit_events__type on auth.audit_events (type, occurred_at, audit_event_id);

-- On the whole table: nobody changes a row. Months go as partitions, and only where keep_days says so.
create trigger audit_events__append_only before update or delete or truncate on auth.audit_events
  for each statement execute function auth.refuse_audit_change();

do $$
begin
  execute format(
    'alter table auth.audit_events attach partition auth.%I for values from (minvalue) to (%L)',
    'audit_events_p' || to_char(date_trunc('month', now() at time zone 'UTC'), 'YYYYMMDD'),
    format('%s 00:00:00+00', (date_trunc('month', now() at time zone 'UTC') + interval '1 month')::date)
  );
end
$$;
create table auth.audit_events_default partition of auth.audit_events default;
grant select, insert on auth.audit_events to auth_app;

-- For ever, until the operator gives a number of days.
insert into auth.partitioned_tables (table_name, time_column, span, ahead_days)
values ('audit_events', 'occurred_at', 'month', 45);
select * from auth.maintain_partitions();
