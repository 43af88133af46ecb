import pg from "pg";
import { runCommand } from "./operator-command.ts";

const { Client, escapeIdentifier, escapeLiteral } = pg;

/** The same server's address for another user. */
export function urlFor(serverUrl: string, login: { user: string; password: string }): string {
  const url = new URL(serverUrl);
  url.username = login.user;
  url.password = login.password;
  return url.toString();
}

/** Migrates, and lets each service's role log in with its own password. */
export async function migrateWithLogins(operatorUrl: string, passwords: Record<string, string>): Promise<void> {
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
  await runCommand("db/migrate.ts", [], { ...process.env, DATABASE_URL: databaseUrl });
}
