import { Command } from "commander";
import { type MigrationFile, readMigrations, schemas } from "#platform/migrations/files.ts";
import { type AppliedMigration, selectApplied } from "#platform/migrations/migrations.store.ts";
import { connectClient } from "#platform/postgres/client.ts";
import { maskDatabaseUrl } from "#platform/postgres/url.ts";
import { databaseUrlOfCommand, runCommand } from "./target.ts";

const PENDING = " pending";
const EDITED = "  EDITED since: restore the file and write a new one";

/** One line per migration: applied and when, pending, edited afterwards, or unknown to this code. */
function linesOf(files: readonly MigrationFile[], applied: readonly AppliedMigration[]): readonly string[] {
  const known = new Set(files.map(({ version }) => version));
  const byVersion = new Map(applied.map((row) => [row.version, row]));
  const lines = files.map(({ version, name, checksum }) => {
    const row = byVersion.get(version);
    if (row === undefined) return `  ${name.padEnd(40)}${PENDING}`;
    const edited = row.checksum === checksum ? "" : EDITED;
    return `  ${name.padEnd(40)} ${row.appliedAt.toString({ smallestUnit: "second" })}${edited}`;
  });
  const newer = applied.filter(({ version }) => !known.has(version));
  return [...lines, ...newer.map(({ name }) => `  ${name.padEnd(40)} applied, unknown to this code`)];
}

new Command("db:status").description("Shows which migrations are applied and which are pending.").parse();

await runCommand(async () => {
  const url = databaseUrlOfCommand();
  console.log(maskDatabaseUrl(url));
  const client = await connectClient(url, { applicationName: "decentrastore db:status" });
  try {
    const lines: string[] = [];
    for (const schema of schemas) {
      const files = readMigrations(schema);
      const own = linesOf(files, await selectApplied(client, schema));
      console.log([schema, ...own].join("\n"));
      lines.push(...own);
    }
    const [pending, edited] = [PENDING, EDITED].map((end) => lines.filter((line) => line.endsWith(end)).length);
    if (edited) console.log(`${edited} edited: db:migrate refuses them`);
    if (pending) console.log(`${pending} pending: run npm run db:migrate`);
    if (edited || pending) return 1;
    console.log("up to date");
    return 0;
  } finally {
    await client.end();
  }
});
