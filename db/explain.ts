import { Command } from "commander";
import { schemas } from "#platform/migrations/files.ts";
import { connectClient } from "#platform/postgres/client.ts";
import { maskDatabaseUrl } from "#platform/postgres/url.ts";
import { planStatements, type Scan } from "./plans.ts";
import { databaseUrlOfCommand, runCommand, UsageError } from "./target.ts";

// Every statement that the services ran since the statistics were reset, the most expensive first, with the indexes
// that serve it. Exit code 1 where a large table is read from end to end and no index could help.

/** Up to here reading a whole table costs less than a thought about it. */
const smallTableRows = 1_000;

function isHarmful({ rows, mayUsePartialIndex }: Scan): boolean {
  return rows > smallTableRows && !mayUsePartialIndex;
}

function remarkOn({ table, rows, mayUsePartialIndex }: Scan): string {
  if (rows <= smallTableRows) return `${table} is small (${rows} rows)`;
  return mayUsePartialIndex
    ? `${table} (${rows} rows) has a partial index that may serve it`
    : `${table} has ${rows} rows`;
}

new Command("db:explain")
  .description("Shows the plan and the index of every query that the services have run.")
  .parse();

await runCommand(async () => {
  const url = databaseUrlOfCommand();
  console.log(maskDatabaseUrl(url));
  const client = await connectClient(url, { applicationName: "decentrastore db:explain" });
  try {
    const { rows } = await client.query<{ installed: boolean }>(
      "select to_regclass('pg_stat_statements') is not null as installed",
    );
    if (rows[0]?.installed !== true) {
      throw new UsageError(
        "pg_stat_statements is not there: put it into shared_preload_libraries, restart the server, and run " +
          '"create extension pg_stat_statements" in this database',
      );
    }
    const planned = await planStatements(
      client,
      schemas.map((schema) => `${schema}_app`),
    );
    for (const { statement, calls, meanMs, accesses, scans, problem } of planned) {
      console.log(
        `\n${scans.some(isHarmful) ? "!" : " "} ${calls} calls, ${meanMs.toFixed(3)} ms each: ${statement.slice(0, 300)}`,
      );
      console.log(`    ${problem ?? (accesses.length === 0 ? "no table is read" : accesses.join(", "))}`);
      if (scans.length > 0) console.log(`    ${scans.map(remarkOn).join(", ")}`);
    }
    const scanning = planned.filter(({ scans }) => scans.some(isHarmful)).length;
    console.log(`\n${planned.length} statements, ${scanning} of them read a large table from end to end`);
    return scanning === 0 ? 0 : 1;
  } finally {
    await client.end();
  }
});
