import { execFile } from "node:child_process";
import { promisify } from "node:util";
import pg from "pg";

const { Client, escapeIdentifier, escapeLiteral } = pg;

const run = promisify(execFile);

/** The same server's address for another user. */
export function urlFor(serverUrl: string, login: { user: string; password: string }): string {
  const url = new URL(serverUrl);
  url.username = login.user;
  url.password = login.password;
  return url.toString();
}

/** Migrates, and lets each service's role log in with its own password. */
export async function prepareEmbeddedDatabase(operatorUrl: string, passwords: Record<string, string>): Promise<void> {
  await migrate(operatorUrl);
  const client = new Client({ connectionString: operatorUrl });
  await client.connect();
  try {
    for (const [role, password] of Object.entries(passwords)) {
      await client.query(`alter role ${escapeIdentifier(role)} login password ${escapeLiteral(password)}`);
    }
  } finally {
    await client.end();
  }
}

/** Runs `db:migrate` as an operator would. */
export async function migrate(databaseUrl: string): Promise<void> {
  await run(process.execPath, ["db/migrate.ts"], { env: { ...process.env, DATABASE_URL: databaseUrl } });
}
