import { Command } from "commander";
import { type MigrationFile, readMigrations, schemas } from "#platform/migrations/files.ts";
import { type AppliedMigration, selectApplied } from "#platform/migrations/migrations.store.ts";
import { connectClient } from "#platform/postgres/client.ts";
import { maskDatabaseUrl } from "#platform/postgres/url.ts";
import { databaseUrlOfCommand, runCommand } from "./target.ts";

/** One line per migration: applied and when, pending, edited afterwards, or unknown to this code. */
function linesOf(files: readonly MigrationFile[], applied: readonly AppliedMigration[]): readonly string[] {
  const known = new Set(files.map(({ version }) => version));
  const byVersion = new Map(applied.map((row) => [row.version, row]));
  const lines = files.map(({ version, name, checksum }) => {
    const row = byVersion.get(version);
    if (row === undefined) return `  ${name.padEnd(40)} pending`;
    const edited = row.checksum === checksum ? "" : "  EDITED since: restore the file and write a new one";
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
    const pending: string[] = [];
    for (const schema of schemas) {
      const files = readMigrations(schema);
      const lines = linesOf(files, await selectApplied(client, schema));
      console.log([schema, ...lines].join("\n"));
      pending.push(...lines.filter((line) => line.endsWith(" pending")));
    }
    console.log(pending.length === 0 ? "up to date" : `${pending.length} pending: run npm run db:migrate`);
    return pending.length === 0 ? 0 : 1;
  } finally {
    await client.end();
  }
});
