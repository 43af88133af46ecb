import { Command } from "commander";
import { createLogger } from "#platform/log/logger.ts";
import { isStreamName, type StreamName } from "#platform/nats/streams.ts";
import { replayEvents } from "#platform/outbox/replay.ts";
import { openPool } from "#platform/postgres/pool.ts";
import { databaseUrlOfCommand, runCommand, UsageError } from "../../db/target.ts";
import { sinceFrom } from "./since-option.ts";

// `npm run events:replay`: has the running services publish events again that their outboxes still hold (7 days).

const schemas = ["auth", "user_quota", "node_registry"] as const;
const schemaOf: Partial<Record<StreamName, (typeof schemas)[number]>> = {
  USERS: "auth",
  QUOTAS: "user_quota",
  NODES: "node_registry",
  CHUNKS: "node_registry",
};

const command = new Command("events:replay")
  .description("Publishes events again, in order; our own consumers drop what they have applied.")
  .option("--stream <name>", `one of ${Object.keys(schemaOf).join(", ")}; all without it`)
  .option("--since <time>", "only events from this time on, e.g. 2026-01-31T12:00:00Z")
  .parse();
const options = command.opts<{ stream?: string; since?: string }>();

await runCommand(async () => {
  const stream = streamFrom(options.stream);
  const since = options.since === undefined ? undefined : sinceFrom(options.since);
  const log = createLogger("events-replay", "error");
  for (const schema of schemas.filter((one) => stream === undefined || schemaOf[stream] === one)) {
    const pool = await openPool({ url: databaseUrlOfCommand(), schema, log, poolSize: 1, maxOverflow: 1 });
    try {
      const count = await replayEvents({
        pool,
        schema,
        ...(since === undefined ? {} : { since }),
        ...(stream === undefined ? {} : { stream }),
      });
      console.log(`${schema}: ${count} events will be published again by the running service`);
    } finally {
      await pool.end();
    }
  }
  console.log("What the broker stored within the last two minutes it does not store again, even where it was purged.");
  return 0;
});

function streamFrom(name: string | undefined): StreamName | undefined {
  if (name === undefined) return undefined;
  if (!isStreamName(name) || schemaOf[name] === undefined) {
    throw new UsageError(`--stream must be one of ${Object.keys(schemaOf).join(", ")}, not "${name}"`);
  }
  return name;
}
