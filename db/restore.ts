import path from "node:path";
import { Command } from "commander";
import { schemas } from "#platform/migrations/files.ts";
import { maskDatabaseUrl } from "#platform/postgres/url.ts";
import { restoreSchemas } from "./restore-schemas.ts";
import { databaseUrlOfCommand, runCommand, schemasOfOption, UsageError } from "./target.ts";

const command = new Command("db:restore")
  .description("Brings schemas back from a folder of db:backup and verifies them.")
  .argument("<folder>", "the folder that db:backup wrote")
  .option("--schema <name>", `only this one of ${schemas.join(", ")}`)
  .option("--force", "replace what is there, and end the sessions of the services", false)
  .parse();

await runCommand(async () => {
  const { schema, force } = command.opts<{ schema?: string; force: boolean }>();
  const url = databaseUrlOfCommand();
  console.log(`restoring into ${maskDatabaseUrl(url)}`);
  const folder = path.resolve(command.args[0] ?? "");
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"]) {
    process.on(signal, () => stop.abort(new UsageError(`ended by ${signal}: everything is as it was before`)));
  }
  const wanted = { schemas: schemasOfOption(schema), isForced: force, signal: stop.signal };
  const restored = await restoreSchemas({ url, folder, ...wanted });
  console.log(
    `restored ${restored.join(", ")}. Next: npm run db:migrate (the backup may be older than the code), start the ` +
      "services, then npm run events:replay, so that subscribers hear of what they missed.",
  );
  return 0;
});
