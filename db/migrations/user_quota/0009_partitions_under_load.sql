set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- Makes the partition of one day. Rows that the default partition took in the meantime move into it.
create or replace function user_quota.create_partition(target user_quota.partitioned_tables, day date) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
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
$$;

-- Makes the partitions of the next days and drops those that are over. The services call it hourly; one at a time
-- works, the others get no rows. A partition that is in use is counted as busy and left for the next call.
-- default_rows above zero means that rows came for a day without a partition: something did not run, or an event came
-- with a wrong clock.
create or replace function user_quota.maintain_partitions()
returns table (table_name text, created integer, dropped integer, busy integer, default_rows bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
-- Whoever waits for an exclusive lock makes all later statements wait behind it.
set lock_timeout = '500ms'
as $$
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
$$;
