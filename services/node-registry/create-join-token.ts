import { Command } from "commander";
import { z } from "zod";
import { loadConfig } from "#platform/config/load-config.ts";
import { databaseConfigShape, serviceConfigShape } from "#platform/config/service-config.ts";
import { duration, integer } from "#platform/config/types.ts";
import { createLogger } from "#platform/log/logger.ts";
import { requireSchema } from "#platform/migrations/require-schema.ts";
import { openPool } from "#platform/postgres/pool.ts";
import { systemClock } from "#platform/time/clock.ts";
import { openAuthorities } from "./enrollment/authorities.ts";
import { issueJoinToken } from "./enrollment/issue-join-token.ts";

const command = new Command("node-registry:create-join-token")
  .description("Makes a join token for storage nodes with DATABASE_URL and KEY_ENCRYPTION_KEY of the node-registry.")
  .option("--max-uses <count>", "how many nodes may join with it, 0 for any number", "1")
  .option("--ttl <span>", "how long it is good, such as 24h", "24h")
  .option("--json", "print one JSON object")
  .parse();
const options = z
  .object({
    maxUses: integer({ min: 0, max: 2 ** 31 - 1 }),
    ttl: duration({ min: 1_000 }),
    json: z.boolean().default(false),
  })
  .parse(command.opts());

const { DATABASE_URL } = databaseConfigShape("node-registry");
const { KEY_ENCRYPTION_KEY, KEY_ENCRYPTION_KEY_PREVIOUS } = serviceConfigShape("node-registry");

try {
  const config = loadConfig({ DATABASE_URL, KEY_ENCRYPTION_KEY, KEY_ENCRYPTION_KEY_PREVIOUS });
  // Standard output is the answer; only trouble is logged, and to standard error.
  const log = createLogger("node-registry", "error", process.stderr);
  const pool = await openPool({ url: config.DATABASE_URL, schema: "node_registry", log, poolSize: 1, maxOverflow: 1 });
  try {
    await requireSchema(pool, "node_registry");
    const previous = config.KEY_ENCRYPTION_KEY_PREVIOUS;
    const authorities = await openAuthorities({
      pool,
      clock: systemClock,
      log,
      encryptionKeys: [config.KEY_ENCRYPTION_KEY.reveal(), ...(previous === undefined ? [] : [previous.reveal()])],
    });
    const deps = { pool, clock: systemClock, authorities };
    const token = await issueJoinToken(deps, { maxUses: options.maxUses, ttlMs: options.ttl, createdBy: "command" });
    const answer = {
      joinToken: token.joinToken,
      joinTokenId: token.joinTokenId,
      expiresAt: token.expiresAt.toString(),
      caCertificatePem: authorities.bundlePem(),
    };
    const lines = Object.entries(answer).map(([name, value]) => `${name}: ${value}`);
    process.stdout.write(`${options.json ? JSON.stringify(answer) : lines.join("\n")}\n`);
  } finally {
    await pool.end();
  }
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
