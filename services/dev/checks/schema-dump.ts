import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { schemas } from "#platform/migrations/files.ts";
import { migrate } from "#platform/migrations/migrate.ts";
import { connectClient } from "#platform/postgres/client.ts";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { describeSchema } from "../../../db/describe-schema.ts";
import { startEmbeddedPostgres } from "../embedded-postgres.ts";

// The schemas as the migrations make them, committed as db/schema/<schema>.sql: a review sees what a migration does,
// and an edited migration or a forgotten dump fails `npm run check`. `--write` (npm run generate) rewrites them.

const folder = path.join(import.meta.dirname, "../../../db/schema");

/** The text of each schema after all migrations, on a fresh server. */
export async function dumpSchemas(): Promise<ReadonlyMap<string, string>> {
  await using temp = createTempFolder();
  await using server = await startEmbeddedPostgres({ folder: temp.path, fsync: false });
  await migrate({ url: server.url });
  const client = await connectClient(server.url, { applicationName: "schema dump" });
  const dumps = new Map<string, string>();
  for (const schema of schemas) {
    const header = "-- Made from the migrations by npm run generate; never edited.\n\n";
    dumps.set(schema, header + (await describeSchema(client, schema)));
  }
  await client.end();
  return dumps;
}

/** The first lines that differ, as a hint where to look. */
function firstDifference(committed: string, actual: string): string {
  const [before, after] = [committed.split("\n"), actual.split("\n")];
  const line = after.findIndex((text, index) => text !== before[index]);
  const at = line === -1 ? after.length : line;
  return `line ${at + 1}:\n  - ${before[at] ?? "(end)"}\n  + ${after[at] ?? "(end)"}`;
}

if (import.meta.main) {
  for (const [schema, text] of await dumpSchemas()) {
    const file = path.join(folder, `${schema}.sql`);
    if (process.argv.includes("--write")) {
      writeFileSync(file, text);
      continue;
    }
    const committed = existsSync(file) ? readFileSync(file, "utf8") : "";
    if (committed === text) continue;
    console.log(
      `db/schema/${schema}.sql is not what the migrations make (npm run generate), ${firstDifference(committed, text)}`,
    );
    process.exitCode = 1;
  }
}
