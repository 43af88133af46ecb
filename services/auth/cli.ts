import { commandEnvironment } from "#platform/config/command-environment.ts";
import { loadConfig } from "#platform/config/load-config.ts";
import { databaseConfigShape } from "#platform/config/service-config.ts";
import { createLogger } from "#platform/log/logger.ts";
import { requireSchema } from "#platform/migrations/require-schema.ts";
import { openPool, type Pool } from "#platform/postgres/pool.ts";

/** A mistake of whoever typed the command: shown without a stack. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

const { DATABASE_URL } = databaseConfigShape("auth");

/** Runs an operator's command against AUTH_DATABASE_URL, DATABASE_URL or the local database with the service's rights. */
export async function runCommand(work: (pool: Pool, env: NodeJS.ProcessEnv) => Promise<void>): Promise<void> {
  try {
    const env = commandEnvironment("AUTH_DATABASE_URL");
    const config = loadConfig({ DATABASE_URL }, env);
    // Standard output is the command's answer; only trouble is logged, and to standard error.
    const log = createLogger("auth", "error", process.stderr);
    const pool = await openPool({ url: config.DATABASE_URL, schema: "auth", log, poolSize: 1, maxOverflow: 1 });
    try {
      await requireSchema(pool, "auth");
      await work(pool, env);
    } finally {
      await pool.end();
    }
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}

/** One line of JSON for programs, lines of `name: value` for people. */
export function print(answer: Readonly<Record<string, unknown>>, asJson: boolean): void {
  const lines = Object.entries(answer).map(([name, value]) => `${name}: ${String(value)}`);
  process.stdout.write(`${asJson ? JSON.stringify(answer) : lines.join("\n")}\n`);
}
