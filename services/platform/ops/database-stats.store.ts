import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { sql, zInt8 } from "#platform/postgres/sql.ts";

const tableRow = z.strictObject({
  schema: z.string(),
  table: z.string(),
  rowEstimate: z.number(),
  sizeBytes: zInt8,
  sizePretty: z.string(),
});

/** The schema's tables, largest first; the partitions of a table are counted as the table. */
export function selectTables(connection: Connection, schema: string) {
  return connection.any(sql.type(tableRow)`
    with parts as (
      select
        coalesce(pg_partition_root(class.oid), class.oid) root,
        pg_total_relation_size(class.oid) size_bytes,
        -- -1 is "never analyzed"; the partitioned table itself has no rows, and repeats those of its partitions.
        case when class.relkind = 'p' then 0 else greatest(class.reltuples, 0) end::float8 row_estimate
      from pg_class class
      join pg_namespace namespace on namespace.oid = class.relnamespace
      where namespace.nspname = ${schema} and class.relkind in ('r', 'p', 'm')
    )
    select
      ${schema}::text "schema", root.relname::text "table", sum(parts.row_estimate) "rowEstimate",
      sum(parts.size_bytes)::int8 "sizeBytes", pg_size_pretty(sum(parts.size_bytes)) "sizePretty"
    from parts
    join pg_class root on root.oid = parts.root
    group by root.relname
    order by sum(parts.size_bytes) desc, root.relname
    limit 1000`);
}

const connectionRow = z.strictObject({ state: z.string(), connections: z.int() });

/** Connections of this database by state. What other roles do is hidden from an application role. */
export function selectConnections(connection: Connection) {
  return connection.any(sql.type(connectionRow)`
    select coalesce(state, 'hidden') "state", count(*)::int4 "connections"
    from pg_stat_activity
    where datname = current_database() and (backend_type is null or backend_type = 'client backend')
    group by 1
    order by 2 desc, 1`);
}

const databaseRow = z.strictObject({
  cacheHitRatio: z.number(),
  databaseSizeBytes: zInt8,
  databaseSizePretty: z.string(),
  serverVersion: z.string(),
  statementsSchema: z.string().nullable(),
});

export function selectDatabase(connection: Connection) {
  return connection.one(sql.type(databaseRow)`
    select
      coalesce(blks_hit::float8 / nullif(blks_hit + blks_read, 0), 1) "cacheHitRatio",
      pg_database_size(current_database()) "databaseSizeBytes",
      pg_size_pretty(pg_database_size(current_database())) "databaseSizePretty",
      split_part(current_setting('server_version'), ' ', 1) "serverVersion",
      (
        select namespace.nspname::text
        from pg_extension extension
        join pg_namespace namespace on namespace.oid = extension.extnamespace
        where extension.extname = 'pg_stat_statements'
      ) "statementsSchema"
    from pg_stat_database
    where datname = current_database()`);
}

const statementRow = z.strictObject({
  query: z.string(),
  calls: z.number(),
  meanMs: z.number(),
  totalMs: z.number(),
  rows: z.number(),
});

/** The statements with the highest total time in this database, by the extension in the given schema. */
export function selectSlowestStatements(connection: Connection, statementsSchema: string) {
  return connection.any(sql.type(statementRow)`
    select
      left(query, 1000) "query", calls::float8 "calls", mean_exec_time "meanMs", total_exec_time "totalMs",
      rows::float8 "rows"
    from ${sql.identifier([statementsSchema, "pg_stat_statements"])}
    where dbid = (select oid from pg_database where datname = current_database())
      -- PostgreSQL keeps what sets a password as it was written.
      and query !~* '\\mpassword\\M'
    order by total_exec_time desc
    limit 20`);
}
