import type pg from "pg";
import { readMigrations, schemas } from "#platform/migrations/files.ts";
import { pendingOf } from "#platform/migrations/migrate.ts";
import { selectApplied } from "#platform/migrations/migrations.store.ts";
import { isLocalHost } from "#platform/postgres/url.ts";
import { loginsWithRightsOf } from "./service-logins.ts";

/** One line of `db:check`: what was found and, where it is not well, how to mend it. */
export interface Finding {
  readonly state: "ok" | "warning" | "failure";
  readonly text: string;
  readonly cure?: string;
}

const ok = (text: string): Finding => ({ state: "ok", text });
const warning = (text: string, cure: string): Finding => ({ state: "warning", text, cure });
const failure = (text: string, cure: string): Finding => ({ state: "failure", text, cure });

async function one<R extends pg.QueryResultRow>(client: pg.ClientBase, text: string, values: unknown[] = []) {
  const { rows } = await client.query<R>(text, values);
  const [row] = rows;
  if (row === undefined) throw new Error(`no row from: ${text}`);
  return row;
}

export async function checkServer(client: pg.ClientBase): Promise<readonly Finding[]> {
  const { number, version, isStandby } = await one<{ number: number; version: string; isStandby: boolean }>(
    client,
    `select current_setting('server_version_num')::int as number, current_setting('server_version') as version,
       pg_is_in_recovery() as "isStandby"`,
  );
  const major = Math.floor(number / 10_000);
  const supported =
    major < 15
      ? failure(`PostgreSQL ${version}`, "upgrade the server to version 15 or newer")
      : major > 18
        ? warning(`PostgreSQL ${version}`, "versions 15 to 18 are tested")
        : ok(`PostgreSQL ${version}`);
  if (!isStandby) return [supported];
  return [supported, failure("this is a read-only standby", "point the URL at the primary server")];
}

export async function checkTls(client: pg.ClientBase, host: string): Promise<readonly Finding[]> {
  const row = await one<{ ssl: boolean; version: string | null; cipher: string | null }>(
    client,
    "select ssl, version, cipher from pg_stat_ssl where pid = pg_backend_pid()",
  );
  if (row.ssl) return [ok(`encrypted with ${row.version}, ${row.cipher}`)];
  if (isLocalHost(host)) return [ok("not encrypted, on this machine")];
  return [failure("not encrypted", "take sslmode=disable out of the URL, and enable TLS on the server")];
}

/** The clock of the server against this one; leases use the server's, tokens this one's. */
export async function checkClock(client: pg.ClientBase): Promise<readonly Finding[]> {
  const before = Temporal.Now.instant().epochMilliseconds;
  const { at } = await one<{ at: Temporal.Instant }>(client, "select clock_timestamp() as at");
  const after = Temporal.Now.instant().epochMilliseconds;
  const differenceMs = Math.round(at.epochMilliseconds - (before + after) / 2);
  const text = `the server's clock differs by ${differenceMs} ms (within ${after - before} ms)`;
  return Math.abs(differenceMs) < 2_000
    ? [ok(text)]
    : [warning(text, "synchronize both clocks, for example with chrony")];
}

export async function checkLatency(client: pg.ClientBase): Promise<readonly Finding[]> {
  const times: number[] = [];
  for (let i = 0; i < 25; i += 1) {
    const startedAt = performance.now();
    await client.query("select 1");
    times.push(performance.now() - startedAt);
  }
  times.sort((a, b) => a - b);
  const median = times[12] ?? 0;
  const text = `a query takes ${median.toFixed(2)} ms (slowest of 25: ${times.at(-1)?.toFixed(2)} ms)`;
  return median < 20
    ? [ok(text)]
    : [warning(text, "bring the services nearer to the database: the same region or network")];
}

export async function checkRoles(client: pg.ClientBase): Promise<readonly Finding[]> {
  const { login, isSuperuser } = await one<{ login: string; isSuperuser: boolean }>(
    client,
    'select current_user::text as login, rolsuper as "isSuperuser" from pg_roles where rolname = current_user',
  );
  const findings = [ok(`connected as ${login}${isSuperuser ? ", a superuser" : ""}`)];
  for (const schema of schemas) {
    const { rows } = await client.query<{ name: string; canLogin: boolean; isMember: boolean }>(
      `select rolname::text as name, rolcanlogin as "canLogin", pg_has_role(current_user, oid, 'member') as "isMember"
       from pg_roles where rolname in ($1, $2) order by rolname`,
      [`${schema}_app`, `${schema}_owner`],
    );
    const [app] = rows;
    const logins = await loginsWithRightsOf(client, [`${schema}_app`]);
    if (rows.length < 2) {
      findings.push(
        failure(`the roles of ${schema} are missing`, "run npm run db:migrate with an owner's DATABASE_URL"),
      );
    } else if (app?.canLogin === true) {
      findings.push(ok(`${app.name} logs in by itself`));
    } else if (logins.length > 0) {
      findings.push(ok(`${logins.join(", ")} logs in with the rights of ${schema}_app`));
    } else if (app?.isMember === true) {
      findings.push(ok(`${app.name} is taken by the shared login (weaker)`));
    } else {
      findings.push(
        warning(
          `${schema}_app can neither log in nor be taken by ${login}`,
          `alter role ${schema}_app login password '...'`,
        ),
      );
    }
  }
  return findings;
}

export async function checkSchemas(client: pg.ClientBase): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const schema of schemas) {
    const files = readMigrations(schema);
    const { visible } = await one<{ visible: boolean | null }>(
      client,
      "select has_schema_privilege(oid, 'usage') as visible from pg_namespace where nspname = $1 union all select null limit 1",
      [schema],
    );
    if (visible === false) {
      findings.push(
        warning(`the schema ${schema} is not visible to this login`, "check it with an owner's DATABASE_URL"),
      );
      continue;
    }
    try {
      const applied = await selectApplied(client, schema);
      const pending = pendingOf(files, applied);
      findings.push(
        pending.length === 0
          ? ok(`the schema ${schema} is at migration ${Math.max(...applied.map(({ version }) => version))}`)
          : failure(
              `the schema ${schema} lacks ${pending.length} of ${files.length} migrations`,
              "run npm run db:migrate",
            ),
      );
    } catch (error) {
      findings.push(failure(error instanceof Error ? error.message : String(error), "see db/README.md, Migrations"));
    }
  }
  return findings;
}

/** Whether all services together fit into the server, with the pool settings of this environment. */
export async function checkConnections(
  client: pg.ClientBase,
  pool: { readonly size: number; readonly overflow: number },
): Promise<readonly Finding[]> {
  const { allowed, used } = await one<{ allowed: number; used: number }>(
    client,
    `select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
       - coalesce(current_setting('reserved_connections', true)::int, 0) as allowed,
       (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as used`,
  );
  const wanted = schemas.length * (pool.size + pool.overflow);
  const text = `the server allows ${allowed} connections, ${used} are open; ${schemas.length} services with ${pool.size} + ${pool.overflow} may take ${wanted}`;
  if (wanted <= allowed) return [ok(text)];
  return [warning(text, "lower DATABASE_POOL_MAX_OVERFLOW, or raise the server's max_connections")];
}

/** Things that stand in the way of the services and of vacuum. */
export async function checkActivity(client: pg.ClientBase): Promise<readonly Finding[]> {
  const { idle, oldest, prepared } = await one<{ idle: number; oldest: number | null; prepared: number }>(
    client,
    `select count(*) filter (where state like 'idle in transaction%' and clock_timestamp() - state_change > '1 min')::int as idle,
       extract(epoch from max(clock_timestamp() - xact_start))::float8 as oldest,
       (select count(*)::int from pg_prepared_xacts) as prepared
     from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()`,
  );
  const findings: Finding[] = [];
  const age = Math.round(oldest ?? 0);
  if (idle > 0)
    findings.push(warning(`${idle} sessions idle in a transaction`, "find them in pg_stat_activity and end them"));
  if (prepared > 0)
    findings.push(warning(`${prepared} prepared transactions`, "commit or roll them back: they hold locks"));
  findings.push(
    age < 300
      ? ok(`the oldest transaction is ${age} s old`)
      : warning(`a transaction is ${age} s old`, "vacuum and partition maintenance wait for it: see pg_stat_activity"),
  );
  return findings;
}

/** Partitions are made three days ahead by the services; rows in a default partition mean that none ran. */
export async function checkPartitions(client: pg.ClientBase): Promise<readonly Finding[]> {
  const { rows } = await client.query<{ name: string; readable: boolean }>(
    `select c.oid::regclass::text as name, has_table_privilege(c.oid, 'select') as readable
     from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
     where n.nspname = any ($1) and c.relname ~ '_default$' and c.relispartition order by 1`,
    [schemas],
  );
  const filled: string[] = [];
  for (const { name, readable } of rows) {
    if (!readable) continue;
    const { found } = await one<{ found: boolean }>(client, `select exists (select from ${name}) as found`);
    if (found) filled.push(name);
  }
  if (filled.length === 0) return [ok("every row lies in the partition of its day")];
  return [
    warning(
      `rows without a partition in ${filled.join(", ")}`,
      "are the services running? They make partitions hourly",
    ),
  ];
}
