import { writeFileSync } from "node:fs";
import path from "node:path";
import { migrationsFolder, readMigrations, schemas } from "#platform/migrations/files.ts";
import { runCommand, UsageError } from "./target.ts";

const template = `set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- Why this change, and which code needs it or still works without it (db/README.md, Migrations).
`;

await runCommand(async () => {
  const [name = "", words = ""] = [process.argv[2], process.argv.slice(3).join("_")];
  const schema = schemas.find((known) => known === name);
  const title = words
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "_")
    .replace(/^_+|_+$/g, "");
  if (schema === undefined || title === "") {
    throw new UsageError(`usage: npm run db:new -- <${schemas.join(" | ")}> add_labels_to_nodes`);
  }
  const last = Math.max(0, ...readMigrations(schema).map(({ version }) => version));
  const file = path.join(migrationsFolder, schema, `${String(last + 1).padStart(4, "0")}_${title}.sql`);
  writeFileSync(file, template, { flag: "wx" });
  console.log(path.relative(process.cwd(), file));
  return 0;
});
