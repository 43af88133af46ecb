import pg from "pg";
import { z } from "zod";

const schemas = ["auth", "user_quota", "node_registry"] as const;
type SchemaName = (typeof schemas)[number];

/** Rows of some moment, for tables in which one can be made; all others are looked at empty. */
const rowsOf: Readonly<Record<string, (day: string) => string>> = {
  outbox: (day) => `outbox (event_id, subject, key, key_version, type, payload, created_at, published_at)
    values (gen_random_uuid(), 'rotation', 'rotation', 1, 'rotation', '', to_date('${day}', 'YYYYMMDD'), now())`,
  inbox: (day) => `inbox (consumer, event_id, event_time)
    values ('rotation', gen_random_uuid(), to_date('${day}', 'YYYYMMDD'))`,
};

const tableRow = z.object({
  table: z.string(),
  /** Whether rows may hold their partition although its time is over. */
  settles: z.boolean(),
  /** The last day or month that is made ahead. */
  ahead: z.string(),
  /** The oldest day that is to be kept, and one that is over; null where all is kept for ever. */
  kept: z.string().nullable(),
  over: z.string().nullable(),
});
type Table = z.infer<typeof tableRow>;

const tablesOf = (schema: SchemaName) => `
  select table_name as table, settled_column is not null as settles,
    to_char(date_trunc(coalesce(to_jsonb(t) ->> 'span', 'day'), today + make_interval(days => ahead_days)), 'YYYYMMDD') as ahead,
    to_char(today - make_interval(days => keep_days - 1), 'YYYYMMDD') as kept,
    to_char(today - make_interval(days => keep_days + 3), 'YYYYMMDD') as over
  from ${schema}.partitioned_tables t, (select now() at time zone 'UTC' as today) as clock order by table_name`;

type Ask = (text: string) => Promise<readonly Record<string, unknown>[]>;

/**
 * A day, or month, of every table that is partitioned by time passes under load. The database's clock cannot be moved, so
 * the calendar is moved against it: the last part ahead disappears, a row comes for it all the same, days that are over and
 * the last one that is to be kept appear, and the services' own upkeep runs. It has to make the part ahead and move the
 * row into it, to keep what is to be kept, also an old event that was published a moment ago, and to drop the rest. What was
 * wrong; empty when all was right.
 */
export async function rotateDays(operatorUrl: string): Promise<{ problems: string[]; tables: string[] }> {
  const client = new pg.Client({ connectionString: operatorUrl });
  client.on("error", () => {}); // the query that runs into it tells
  await client.connect();
  const ask: Ask = async (text) => (await client.query(text)).rows;
  const problems: string[] = [];
  const tables: string[] = [];
  try {
    for (const schema of schemas) {
      await ask(`set role ${schema}_owner; set search_path = ${schema}; set lock_timeout = '10s'`);
      for (const table of z.array(tableRow).parse(await ask(tablesOf(schema)))) {
        tables.push(`${schema}.${table.table}`);
        problems.push(...(await rotate(ask, schema, table)).map((what) => `${schema}.${table.table}: ${what}`));
      }
      await ask("reset role");
    }
  } catch (error) {
    problems.push(`the calendar could not be moved: ${error instanceof Error ? error.message : error}`);
  } finally {
    await client.end();
  }
  return { problems, tables };
}

async function rotate(ask: Ask, schema: SchemaName, { table, settles, ahead, kept, over }: Table): Promise<string[]> {
  const part = (day: string) => `${table}_p${day}`;
  const isThere = async (day: string) =>
    (await ask(`select to_regclass('${schema}.${part(day)}') is not null as found`))[0]?.found === true;
  const count = async (name: string) => Number((await ask(`select count(*)::int as count from ${name}`))[0]?.count);
  const make = (day: string) =>
    ask(
      `select create_partition(t, to_date('${day}', 'YYYYMMDD')) from partitioned_tables t where table_name = '${table}'`,
    );
  // A table that is in use is left for the next time.
  const upkeepUntil = async (isDone: () => Promise<boolean>) => {
    for (let tries = 0; tries < 50 && !(await isDone()); tries += 1) await ask("select * from maintain_partitions()");
    return await isDone();
  };
  const insert = rowsOf[table];
  const problems: string[] = [];

  if (await isThere(ahead)) await ask(`drop table ${part(ahead)}`);
  for (const day of [kept, over]) if (day !== null) await make(day);
  for (const day of [ahead, kept, over])
    if (day !== null && insert !== undefined) await ask(`insert into ${insert(day)}`);
  if (!(await upkeepUntil(() => isThere(ahead)))) return ["the part ahead was not made"];
  if (insert !== undefined && (await count(part(ahead))) !== 1)
    problems.push("a row without a part did not move into it");
  if (insert !== undefined) await ask(`delete from ${part(ahead)}`);
  const strays = await count(`${table}_default`);
  if (strays !== 0) problems.push(`${strays} rows found no part`);
  if (over === null || kept === null) return problems;
  if (settles && !(await isThere(over))) problems.push("a day was dropped with a row that is to be kept");
  else if (settles) await ask(`delete from ${part(over)}`);
  if (!(await upkeepUntil(async () => !(await isThere(over))))) problems.push("a day that is over was not dropped");
  if (!(await isThere(kept))) problems.push("a day was dropped that is to be kept");
  else await ask(`drop table ${part(kept)}`);
  return problems;
}
