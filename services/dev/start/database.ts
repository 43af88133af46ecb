import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { Client, escapeIdentifier, escapeLiteral } from "pg";

const run = promisify(execFile);

export const databaseName = "decentrastore";

/** The same server's address for another database or another user. */
export function urlFor(serverUrl: string, change: { database?: string; user?: string; password?: string }): string {
  const url = new URL(serverUrl);
  if (change.database !== undefined) url.pathname = `/${change.database}`;
  if (change.user !== undefined) url.username = change.user;
  if (change.password !== undefined) url.password = change.password;
  return url.toString();
}

/** Makes the database of an embedded server once, and lets each service's role log in with its own password. */
export async function prepareEmbeddedDatabase(serverUrl: string, passwords: Record<string, string>): Promise<void> {
  await withClient(serverUrl, async (client) => {
    const { rowCount } = await client.query("select 1 from pg_database where datname = $1", [databaseName]);
    if (rowCount === 0) await client.query(`create database ${escapeIdentifier(databaseName)}`);
  });
  await migrate(urlFor(serverUrl, { database: databaseName }));
  await withClient(serverUrl, async (client) => {
    for (const [role, password] of Object.entries(passwords)) {
      await client.query(`alter role ${escapeIdentifier(role)} login password ${escapeLiteral(password)}`);
    }
  });
}

/** Runs `db:migrate` as an operator would. */
export async function migrate(databaseUrl: string): Promise<void> {
  await run(process.execPath, ["db/migrate.ts"], { env: { ...process.env, DATABASE_URL: databaseUrl } });
}

async function withClient(url: string, work: (client: Client) => Promise<void>): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}
