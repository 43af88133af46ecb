import pg from "pg";

const schemas = ["auth", "user_quota", "node_registry"] as const;
/** Longer ago than an outbox keeps its days. */
const OLD_DAYS = 10;

/**
 * A day of every outbox passes under load. The database's clock cannot be moved, so the calendar is moved against it: a day
 * that is over appears with an event that is still to be kept, the last day ahead disappears, and the services' own
 * upkeep runs. It has to make the day ahead, to keep the old day for as long as its event lives, and then to drop it.
 * What was wrong; empty when all was right.
 */
export async function rotateDays(operatorUrl: string): Promise<string[]> {
  const client = new pg.Client({ connectionString: operatorUrl });
  client.on("error", () => {}); // the query that runs into it tells
  await client.connect();
  try {
    const problems: string[] = [];
    for (const schema of schemas) problems.push(...(await rotate(client, schema)));
    return problems;
  } finally {
    await client.end();
  }
}

async function rotate(client: pg.Client, schema: (typeof schemas)[number]): Promise<string[]> {
  const ask = async (text: string) => (await client.query(text)).rows;
  const [days] = await ask(
    `select to_char(now() at time zone 'UTC' - interval '${OLD_DAYS} days', 'YYYYMMDD') as old,
       to_char(now() at time zone 'UTC' + ahead_days * interval '1 day', 'YYYYMMDD') as ahead
     from ${schema}.partitioned_tables where table_name = 'outbox'`,
  );
  const parts = { old: `outbox_p${days?.old}`, ahead: `outbox_p${days?.ahead}` };
  const isThere = async (part: string) =>
    (await ask(`select to_regclass('${schema}.${part}') is not null as found`))[0]?.found === true;
  const upkeep = () => ask(`select * from ${schema}.maintain_partitions()`);
  await ask(`set role ${schema}_owner`);
  await ask("set lock_timeout = '10s'");
  await ask(`select ${schema}.create_partition(t, to_date('${days?.old}', 'YYYYMMDD'))
             from ${schema}.partitioned_tables t where table_name = 'outbox'`);
  await ask(`insert into ${schema}.outbox
               (event_id, subject, key, key_version, type, payload, created_at, published_at)
             values (gen_random_uuid(), 'rotation', 'rotation', 1, 'rotation', '', to_date('${days?.old}', 'YYYYMMDD'), now())`);
  await ask(`drop table ${schema}.${parts.ahead}`);
  const problems: string[] = [];
  // A table that is in use is left for the next time.
  for (let tries = 0; tries < 50 && !(await isThere(parts.ahead)); tries += 1) await upkeep();
  if (!(await isThere(parts.ahead))) problems.push(`${schema}: the day ahead was not made`);
  if (!(await isThere(parts.old))) problems.push(`${schema}: a day was dropped with an event that is to be kept`);
  else await ask(`delete from ${schema}.${parts.old}`);
  for (let tries = 0; tries < 50 && (await isThere(parts.old)); tries += 1) await upkeep();
  if (await isThere(parts.old)) problems.push(`${schema}: a day that is over was not dropped`);
  const [strays] = await ask(`select count(*)::int as count from ${schema}.outbox_default`);
  if (strays?.count !== 0) problems.push(`${schema}: ${strays?.count} events found no day`);
  await ask("reset role");
  return problems;
}
