set local lock_timeout = '5s';
set local statement_timeout = '10min';

-- What is kept for long is partitioned by month, because every query looks into each partition; the few tables of some
-- days stay partitioned by day.
alter table node_registry.partitioned_tables add column span text not null default 'day';
-- squawk-ignore constraint-missing-not-valid
alter table node_registry.partitioned_tables add constraint partitioned_tables__span_known check (span in ('day', 'month'));

-- Makes the partition of the day or month that begins with `day`. Rows that the default partition took in the meantime move into it.
create or replace function node_registry.create_partition(target node_registry.partitioned_tables, day date) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  partition text := format('%s_p%s', target.table_name, to_char(day, 'YYYYMMDD'));
  lower_bound text := format('%s 00:00:00+00', day);
  upper_bound text := format('%s 00:00:00+00', (day + ('1 ' || target.span)::interval)::date);
begin
  if to_regclass(format('node_registry.%I', partition)) is not null then
    return false;
  end if;
  -- Vacuumed early: outbox rows die once each, and the relay reads past the dead entries of its index.
  execute format(
    'create table node_registry.%I (like node_registry.%I including defaults including constraints) with (autovacuum_vacuum_scale_factor = 0.05)',
    partition, target.table_name
  );
  execute format(
    'with late as (delete from node_registry.%I where %I >= %L and %I < %L returning *) insert into node_registry.%I select * from late',
    target.table_name || '_default', target.time_column, lower_bound, target.time_column, upper_bound, partition
  );
  execute format(
    'alter table node_registry.%I attach partition node_registry.%I for values from (%L) to (%L)',
    target.table_name, partition, lower_bound, upper_bound
  );
  return true;
end
$$;

-- Whether everything in a partition may go.
create or replace function node_registry.is_partition_over(target node_registry.partitioned_tables, partition text, day date) returns boolean
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
      'select exists (select from node_registry.%I where %I is null or %I > now() - make_interval(days => $1))',
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
create or replace function node_registry.maintain_partitions()
returns table (table_name text, created integer, dropped integer, busy integer, default_rows bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
-- Whoever waits for an exclusive lock makes all later statements wait behind it.
set lock_timeout = '500ms'
as $$
declare
  today date := (now() at time zone 'UTC')::date;
  target node_registry.partitioned_tables;
  first_day date;
  old record;
begin
  if not pg_try_advisory_xact_lock(hashtext('node_registry.maintain_partitions')) then
    return;
  end if;
  for target in select * from node_registry.partitioned_tables order by partitioned_tables.table_name loop
    table_name := target.table_name;
    created := 0;
    dropped := 0;
    busy := 0;
    for first_day in
      select distinct date_trunc(target.span, (today + near)::timestamp)::date
      from generate_series(-target.behind_days, target.ahead_days) as near order by 1
    loop
      begin
        created := created + node_registry.create_partition(target, first_day)::integer;
      exception when lock_not_available then
        busy := busy + 1;
      end;
    end loop;
    for old in
      select child.relname::text as partition, to_date(right(child.relname, 8), 'YYYYMMDD') as day
      from pg_inherits
      join pg_class as child on child.oid = pg_inherits.inhrelid
      where pg_inherits.inhparent = format('node_registry.%I', target.table_name)::regclass
        and child.relname ~ '_p[0-9]{8}$'
      order by child.relname
    loop
      begin
        if node_registry.is_partition_over(target, old.partition, old.day) then
          execute format('drop table node_registry.%I', old.partition);
          dropped := dropped + 1;
        end if;
      exception when lock_not_available then
        busy := busy + 1;
      end;
    end loop;
    if target.keep_days is not null then
      execute format(
        'delete from node_registry.%I where %I < now() - make_interval(days => $1) and coalesce(%s < now() - make_interval(days => $1), %L)',
        target.table_name || '_default', target.time_column,
        coalesce(quote_ident(target.settled_column), 'null::timestamptz'), target.settled_column is null
      ) using target.keep_days;
    end if;
    execute format('select count(*) from node_registry.%I', target.table_name || '_default') into default_rows;
    return next;
  end loop;
end
$$;

-- The evidence by month. What is there becomes the first partition; it gets a new primary key, because that of a
-- partitioned table includes the time, and its ids come from a sequence that all partitions share.
create sequence node_registry.reputation_evidence_number as bigint;
do $$
declare
  first_part text := 'reputation_evidence_p' || to_char(date_trunc('month', now() at time zone 'UTC'), 'YYYYMMDD');
  last_id bigint;
begin
  lock table node_registry.reputation_evidence in access exclusive mode;
  select max(id) into last_id from node_registry.reputation_evidence;
  perform setval('node_registry.reputation_evidence_number', coalesce(last_id, 1), last_id is not null);
  alter table node_registry.reputation_evidence
    alter column id drop identity, drop constraint reputation_evidence__pkey;
  execute format('alter table node_registry.reputation_evidence rename to %I', first_part);
  execute format('alter index node_registry.reputation_evidence__node rename to %I', first_part || '__node');
  execute format('revoke all on node_registry.%I from node_registry_app', first_part);
end
$$;

create table node_registry.reputation_evidence (
  id bigint not null default nextval('node_registry.reputation_evidence_number'),
  node_id bigint not null,
  kind text not null,
  -- So many of one kind in a row.
  count integer not null default 1,
  occurred_at timestamptz not null,
  chunk_hash node_registry.sha256,
  command_id uuid,
  actor text not null default '',
  reason text not null default '',
  constraint reputation_evidence__pkey primary key (id, occurred_at),
  constraint reputation_evidence__node_exists foreign key (node_id) references node_registry.storage_nodes (id),
  constraint reputation_evidence__kind_known check (
    kind in ('proof_succeeded', 'proof_failed', 'proof_timed_out', 'proof_invalid', 'loss_reported', 'reset')),
  constraint reputation_evidence__count_positive check (count > 0)
) partition by range (occurred_at);
create index reputation_evidence__node on node_registry.reputation_evidence (node_id, id);

do $$
begin
  execute format(
    'alter table node_registry.reputation_evidence attach partition node_registry.%I for values from (minvalue) to (%L)',
    'reputation_evidence_p' || to_char(date_trunc('month', now() at time zone 'UTC'), 'YYYYMMDD'),
    format('%s 00:00:00+00', (date_trunc('month', now() at time zone 'UTC') + interval '1 month')::date)
  );
end
$$;
create table node_registry.reputation_evidence_default partition of node_registry.reputation_evidence default;
grant usage on sequence node_registry.reputation_evidence_number to node_registry_app;
grant select, insert on node_registry.reputation_evidence to node_registry_app;

-- For ever, until the operator gives a number of days: scores are computed again from all of it.
insert into node_registry.partitioned_tables (table_name, time_column, span, ahead_days)
values ('reputation_evidence', 'occurred_at', 'month', 45);
select * from node_registry.maintain_partitions();
