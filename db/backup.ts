import path from "node:path";
import { Command } from "commander";
import { homeOfCommand } from "#platform/config/command-environment.ts";
import { schemas } from "#platform/migrations/files.ts";
import { maskDatabaseUrl } from "#platform/postgres/url.ts";
import { backupSchemas } from "./backup-schemas.ts";
import { databaseUrlOfCommand, runCommand, schemasOfOption } from "./target.ts";

const command = new Command("db:backup")
  .description("Saves the schemas with pg_dump and a manifest; the services go on working.")
  .option("--out <folder>", "where to; by default a new folder below backups in the home folder")
  .option("--schema <name>", `only this one of ${schemas.join(", ")}`)
  .parse();

await runCommand(async () => {
  const { out, schema } = command.opts<{ out?: string; schema?: string }>();
  const url = databaseUrlOfCommand();
  const stamp = Temporal.Now.instant().toString({ smallestUnit: "second" }).replaceAll(":", "");
  const folder = path.resolve(out ?? path.join(homeOfCommand(), "backups", stamp));
  console.log(`saving ${maskDatabaseUrl(url)}`);
  await backupSchemas({ url, folder, schemas: schemasOfOption(schema) });
  console.log(
    `saved in ${folder}\nIt holds password hashes and sealed keys, but not KEY_ENCRYPTION_KEY: keep that apart.`,
  );
  return 0;
});
