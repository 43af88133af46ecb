import { Command } from "commander";
import { schemas } from "#platform/migrations/files.ts";
import { migrate } from "#platform/migrations/migrate.ts";
import { maskDatabaseUrl } from "#platform/postgres/url.ts";
import { databaseUrlOfCommand, runCommand, schemasOfOption } from "./target.ts";

const command = new Command("db:migrate")
  .description("Brings the schemas up to date; safe to run several times at once.")
  .option("--schema <name>", `only this one of ${schemas.join(", ")}`)
  .parse();

await runCommand(async () => {
  const { schema } = command.opts<{ schema?: string }>();
  const wanted = schemasOfOption(schema);
  const url = databaseUrlOfCommand();
  console.log(`migrating ${maskDatabaseUrl(url)}`);
  const applied = await migrate({ url, schemas: wanted, onProgress: (line) => console.log(`  ${line}`) });
  console.log(
    applied.length === 0 ? "nothing to do, the schemas are up to date" : `${applied.length} migrations applied`,
  );
  return 0;
});
