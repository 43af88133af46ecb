import { commandEnvironment } from "#platform/config/command-environment.ts";
import { loadConfig } from "#platform/config/load-config.ts";
import { databaseConfigShape, serviceConfigShape } from "#platform/config/service-config.ts";
import { createLogger } from "#platform/log/logger.ts";
import { requireSchema } from "#platform/migrations/require-schema.ts";
import { openPool } from "#platform/postgres/pool.ts";
import { systemClock } from "#platform/time/clock.ts";
import type { AuthoritiesDeps } from "./enrollment/authorities.worker.ts";

const { DATABASE_URL } = databaseConfigShape("node-registry");
const { KEY_ENCRYPTION_KEY, KEY_ENCRYPTION_KEY_PREVIOUS } = serviceConfigShape("node-registry");

/** Runs an operator's command with the rights of the service; its answer goes to standard output, trouble to standard error. */
export async function runCommand(work: (deps: AuthoritiesDeps) => Promise<string>): Promise<void> {
  try {
    const env = commandEnvironment("NODE_REGISTRY_DATABASE_URL");
    const config = loadConfig({ DATABASE_URL, KEY_ENCRYPTION_KEY, KEY_ENCRYPTION_KEY_PREVIOUS }, env);
    const log = createLogger("node-registry", "error", process.stderr);
    const pool = await openPool({
      url: config.DATABASE_URL,
      schema: "node_registry",
      log,
      poolSize: 1,
      maxOverflow: 1,
    });
    try {
      await requireSchema(pool, "node_registry");
      const previous = config.KEY_ENCRYPTION_KEY_PREVIOUS;
      const answer = await work({
        pool,
        clock: systemClock,
        log,
        encryptionKeys: [config.KEY_ENCRYPTION_KEY.reveal(), ...(previous === undefined ? [] : [previous.reveal()])],
      });
      process.stdout.write(`${answer}\n`);
    } finally {
      await pool.end();
    }
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
