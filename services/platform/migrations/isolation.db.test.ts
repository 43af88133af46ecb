import pg from "pg";
import { expect, test } from "vitest";
import { createTestDatabase, type TestDatabase, type TestRole } from "../testing/test-database.ts";
import { schemas } from "./files.ts";

/** What the server says to a statement of a role: its SQLSTATE, or "ok". */
async function answerTo(db: TestDatabase, role: TestRole, statement: string): Promise<string> {
  const client = new pg.Client({ connectionString: db.url(role) });
  await client.connect();
  try {
    await client.query(statement);
    return "ok";
  } catch (error) {
    return String(Reflect.get(Object(error), "code"));
  } finally {
    await client.end();
  }
}

async function catalog<R extends pg.QueryResultRow>(db: TestDatabase, query: string): Promise<readonly R[]> {
  const client = new pg.Client({ connectionString: db.url() });
  await client.connect();
  try {
    return (await client.query<R>(query)).rows;
  } finally {
    await client.end();
  }
}

const denied = "42501";

test("a service's role can neither read, write nor even see into another's schema", async () => {
  await using db = await createTestDatabase();
  for (const schema of schemas) {
    for (const other of schemas.filter((name) => name !== schema)) {
      for (const role of [`${schema}_app`, `${schema}_owner`] as const) {
        for (const statement of [
          `select * from ${other}.outbox`,
          `insert into ${other}.leases values ('x', gen_random_uuid(), 1, now())`,
          `alter table ${other}.leases add column x int`,
          `select ${other}.maintain_partitions()`,
          `create table ${other}.x ()`,
        ]) {
          expect([role, statement, await answerTo(db, role, statement)]).toEqual([role, statement, denied]);
        }
      }
    }
  }
});

test("no right on any object of a schema was granted to another service or to everybody", async () => {
  await using db = await createTestDatabase();
  const rights = await catalog(
    db,
    `select r.rolname, c.oid::regclass::text as object
     from pg_class as c join pg_namespace as n on n.oid = c.relnamespace cross join pg_roles as r
     where n.nspname in ('auth', 'user_quota', 'node_registry') and r.rolname ~ '_(app|owner)$'
       and r.rolname not in (n.nspname || '_app', n.nspname || '_owner') and c.relkind in ('r', 'p', 'v', 'm', 'S')
       and case c.relkind when 'S' then has_sequence_privilege(r.oid, c.oid, 'usage, select, update')
         else has_table_privilege(r.oid, c.oid, 'select, insert, update, delete, truncate, references, trigger') end`,
  );
  expect(rights).toEqual([]);
  const functions = await catalog(
    db,
    `select p.oid::regprocedure::text as function from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
     where n.nspname in ('auth', 'user_quota', 'node_registry') and p.prosecdef
       and (p.proacl is null or p.proacl::text ~ '[{,]=X/')`,
  );
  expect(functions).toEqual([]);
});

test("a service's role cannot create, alter, empty or drop anything, nor become its owner", async () => {
  await using db = await createTestDatabase();
  for (const schema of schemas) {
    const role = `${schema}_app` as const;
    for (const statement of [
      `create table ${schema}.x ()`,
      "create table public.x ()",
      "create temporary table x ()",
      "create schema x",
      "create role x",
      `create function ${schema}.x() returns int language sql as 'select 1'`,
      `alter table ${schema}.leases add column x int`,
      `create index on ${schema}.leases (epoch)`,
      `truncate ${schema}.leases`,
      `drop table ${schema}.leases`,
      `delete from ${schema}.outbox`,
      `update ${schema}.outbox set payload = ''`,
      `delete from ${schema}.inbox`,
      `insert into ${schema}.schema_migrations values (99, 'x', 'x', null, now(), 0)`,
      `update ${schema}.partitioned_tables set keep_days = 1`,
      `select ${schema}.create_partition(t, current_date) from ${schema}.partitioned_tables as t`,
      `set role ${schema}_owner`,
      "set role postgres",
      "select * from pg_authid",
      "copy (select 1) to '/tmp/x'",
    ]) {
      const answer = await answerTo(db, role, statement);
      expect([role, statement, answer]).toEqual([role, statement, denied]);
    }
    expect(await answerTo(db, role, `alter role ${schema}_owner login`)).toBe(denied);
  }
});

test("everything in a schema belongs to its owner, who may not log in by default", async () => {
  await using db = await createTestDatabase();
  const foreign = await catalog(
    db,
    `select c.oid::regclass::text as object, pg_get_userbyid(c.relowner) as owner
     from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
     where n.nspname in ('auth', 'user_quota', 'node_registry') and pg_get_userbyid(c.relowner) <> n.nspname || '_owner'`,
  );
  expect(foreign).toEqual([]);
});

test("what is written for ever cannot be rewritten by the service that wrote it", async () => {
  await using db = await createTestDatabase();
  for (const [role, table, column] of [
    ["user_quota_app", "user_quota.ledger_entries", "user_id"],
    ["auth_app", "auth.audit_events", "type"],
  ] as const) {
    for (const statement of [
      `update ${table} set ${column} = ${column}`,
      `delete from ${table}`,
      `truncate ${table}`,
    ]) {
      expect([statement, await answerTo(db, role, statement)]).toEqual([statement, denied]);
    }
  }
});
