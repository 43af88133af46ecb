import { schemas } from "#platform/migrations/files.ts";
import { connectClient } from "#platform/postgres/client.ts";
import { maskDatabaseUrl, parseDatabaseUrl } from "#platform/postgres/url.ts";
import { databaseUrlOfCommand, runCommand } from "./target.ts";

await runCommand(async () => {
  const url = databaseUrlOfCommand();
  console.log(`connecting to ${maskDatabaseUrl(url)} (sslmode ${parseDatabaseUrl(url).sslMode})`);
  const client = await connectClient(url, { applicationName: "decentrastore db:check" });
  try {
    const { rows } = await client.query<{ version: string }>("select version()");
    console.log(`ok  ${rows[0]?.version}`);
    for (const schema of schemas) {
      const found = await client.query("select to_regnamespace($1) is not null as found", [schema]);
      console.log(`${found.rows[0]?.found ? "ok " : "no "} schema ${schema}`);
    }
    return 0;
  } finally {
    await client.end();
  }
});
