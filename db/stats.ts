import { Command } from "commander";
import type pg from "pg";
import { schemas } from "#platform/migrations/files.ts";
import { connectClient } from "#platform/postgres/client.ts";
import { maskDatabaseUrl } from "#platform/postgres/url.ts";
import { printTable } from "./table.ts";
import { databaseUrlOfCommand, runCommand } from "./target.ts";

// Sizes of tables with their partitions, what is kept how long, connections, slow statements. A login without rights on
// a schema sees its tables' sizes all the same, and no rows.

const tables = `
  with parts as (
    select coalesce(pg_partition_root(c.oid), c.oid) as root, c.oid, c.reltuples, c.relkind
    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = any ($1) and c.relkind in ('r', 'p')
  )
  select root::regclass::text as table,
    sum(greatest(reltuples, 0)) filter (where relkind = 'r')::bigint as "rows (estimate)",
    count(*) filter (where oid <> root) as partitions,
    pg_size_pretty(sum(pg_table_size(oid))) as data, pg_size_pretty(sum(pg_indexes_size(oid))) as indexes,
    pg_size_pretty(sum(pg_total_relation_size(oid))) as total
  from parts group by root order by sum(pg_total_relation_size(oid)) desc`;

const retention = `
  select $1 || '.' || t.table_name as table, t.time_column as "by day of",
    case when t.keep_days is null then 'for ever'
      else t.keep_days || ' days' || coalesce(' after ' || t.settled_column, '') end as kept,
    to_char(min(to_date(right(c.relname, 8), 'YYYYMMDD')), 'YYYY-MM-DD') as "oldest day",
    to_char(max(to_date(right(c.relname, 8), 'YYYYMMDD')), 'YYYY-MM-DD') as "made until"
  from SCHEMA.partitioned_tables as t
  left join pg_inherits as i on i.inhparent = format('SCHEMA.%I', t.table_name)::regclass
  left join pg_class as c on c.oid = i.inhrelid and c.relname ~ '_p[0-9]{8}$'
  group by t.table_name, t.time_column, t.keep_days, t.settled_column
  union all
  select 'user_quota.reservations', 'closed_at', 'RESERVATION_RETENTION (30d unless set)', null, null where $1 = 'user_quota'
  order by 1`;

const connections = `
  select coalesce(usename::text, '-') as login, application_name as application, coalesce(state, 'hidden') as state,
    count(*) as connections
  from pg_stat_activity where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
  group by 1, 2, 3 order by 4 desc`;

const database = `
  select pg_size_pretty(pg_database_size(current_database())) as size,
    round(100.0 * blks_hit / nullif(blks_hit + blks_read, 0), 2) || ' %' as "found in cache",
    xact_commit as commits, xact_rollback as rollbacks, deadlocks, temp_files as "temporary files"
  from pg_stat_database where datname = current_database()`;

const statements = `
  select round(total_exec_time::numeric, 1) as "total ms", calls, round(mean_exec_time::numeric, 3) as "mean ms", rows,
    left(regexp_replace(query, '\\s+', ' ', 'g'), 100) as statement
  from pg_stat_statements as s where s.dbid = (select oid from pg_database where datname = current_database())
    and query !~* '\\mpassword\\M' -- what sets a password is kept as it was written
  order by total_exec_time desc limit 15`;

async function section(client: pg.ClientBase, title: string, query: string, values: readonly unknown[] = []) {
  try {
    const { rows } = await client.query<Record<string, unknown>>(query, [...values]);
    console.log(`\n${title}`);
    printTable(rows);
  } catch (error) {
    // A missing schema or extension, or no right to it, takes away one section and not the rest.
    console.log(`\n${title}\n  not available: ${error instanceof Error ? error.message : String(error)}`);
  }
}

new Command("db:stats").description("Shows sizes, partitions, connections and the slowest statements.").parse();

await runCommand(async () => {
  const url = databaseUrlOfCommand();
  console.log(maskDatabaseUrl(url));
  const client = await connectClient(url, { applicationName: "decentrastore db:stats" });
  try {
    await section(client, "Tables, largest first", tables, [schemas]);
    for (const schema of schemas) {
      await section(client, `What ${schema} keeps`, retention.replaceAll("SCHEMA", schema), [schema]);
    }
    await section(client, "Connections", connections);
    await section(client, "Database", database);
    await section(client, "Statements by total time", statements);
    return 0;
  } finally {
    await client.end();
  }
});
