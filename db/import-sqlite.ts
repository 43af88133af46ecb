import path from "node:path";
import { Command } from "commander";
import { DatabaseUrl } from "#platform/config/secret.ts";
import { createLogger } from "#platform/log/logger.ts";
import { requireSchema } from "#platform/migrations/require-schema.ts";
import { openPool } from "#platform/postgres/pool.ts";
import { maskDatabaseUrl } from "#platform/postgres/url.ts";
import { systemClock } from "#platform/time/clock.ts";
import { importUsers } from "./import/import-users.ts";
import { openSource } from "./import/source.ts";
import { createProgress } from "./progress.ts";
import { databaseUrlOfCommand, runCommand } from "./target.ts";

const command = new Command("db:import-sqlite")
  .description(
    "Takes the users of the original system's SQLite file over, with their passwords, quotas and used bytes.",
  )
  .argument("<file>", "the original users.db; it is only read")
  .option("--dry-run", "write nothing and print a line for every row", false)
  .option("--with-admins", "admins stay admins", false)
  .option("--strict", "exit code 1 also where a row was left out", false)
  .parse();

await runCommand(async () => {
  const { dryRun, withAdmins, strict } = command.opts<{ dryRun: boolean; withAdmins: boolean; strict: boolean }>();
  const url = databaseUrlOfCommand();
  using source = openSource(path.resolve(command.args[0] ?? ""));
  console.log(`${dryRun ? "looking at" : "importing"} ${source.rowCount} users into ${maskDatabaseUrl(url)}`);
  if (source.otherTables.length > 0) console.log(`left alone: ${source.otherTables.join(", ")}`);
  // With the rights of the service: what it may not do, an import may not do either.
  const log = createLogger("db:import-sqlite", "error", process.stderr);
  const shared = new DatabaseUrl(url, true);
  const pool = await openPool({
    url: shared,
    schema: "auth",
    log,
    poolSize: 1,
    maxOverflow: 1,
    statementTimeoutMs: 60_000,
    startTimeoutMs: 0,
  });
  try {
    await requireSchema(pool, "auth");
    const progress = createProgress("users", source.rowCount);
    const summary = await importUsers({
      source,
      pool,
      clock: systemClock,
      withAdmins,
      isDryRun: dryRun,
      say: progress.say,
      onBatch: (rows) => progress.step("", rows),
    });
    const { rows, imported, there, refused } = summary;
    progress.finish(
      `${rows} read, ${imported} ${dryRun ? "to import" : "imported"}, ${there} here already, ${refused} left out`,
    );
    return strict && refused > 0 ? 1 : 0;
  } finally {
    await pool.end();
  }
});
