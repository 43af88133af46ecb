import { Command } from "commander";
import { loadConfig } from "#platform/config/load-config.ts";
import { serviceConfigShape } from "#platform/config/service-config.ts";
import { connectClient } from "#platform/postgres/client.ts";
import { setupErrorOf } from "#platform/postgres/setup-errors.ts";
import { maskDatabaseUrl, parseDatabaseUrl } from "#platform/postgres/url.ts";
import { checkJetStream } from "./check-jetstream.ts";
import {
  checkActivity,
  checkClock,
  checkConnections,
  checkLatency,
  checkPartitions,
  checkRoles,
  checkSchemas,
  checkServer,
  checkTls,
  type Finding,
} from "./checks.ts";
import { databaseUrlOfCommand, natsUrlOfCommand, runCommand } from "./target.ts";

const marks = { ok: "✔", warning: "!", failure: "✘" } as const;

function print(findings: readonly Finding[]): boolean {
  for (const { state, text, cure } of findings) {
    console.log(`${marks[state]} ${text}${cure === undefined ? "" : `\n    cure: ${cure}`}`);
  }
  return findings.every(({ state }) => state !== "failure");
}

/** Connects as the services do and looks at everything that they depend on. */
async function checkDatabase(url: string): Promise<boolean> {
  const { host = "", sslMode } = parseDatabaseUrl(url);
  console.log(`connecting to ${maskDatabaseUrl(url)} (sslmode ${sslMode})`);
  const { DATABASE_POOL_SIZE, DATABASE_POOL_MAX_OVERFLOW } = serviceConfigShape("auth");
  const pool = loadConfig({ DATABASE_POOL_SIZE, DATABASE_POOL_MAX_OVERFLOW });
  const client = await connectClient(url, { applicationName: "decentrastore db:check" }).catch((error: unknown) => {
    throw setupErrorOf(error, "the service's role");
  });
  try {
    const results = [
      print(await checkServer(client)),
      print(await checkTls(client, host)),
      print(await checkLatency(client)),
      print(await checkClock(client)),
      print(await checkRoles(client)),
      print(await checkSchemas(client)),
      print(
        await checkConnections(client, { size: pool.DATABASE_POOL_SIZE, overflow: pool.DATABASE_POOL_MAX_OVERFLOW }),
      ),
      print(await checkActivity(client)),
      print(await checkPartitions(client)),
    ];
    return results.every((isWell) => isWell);
  } finally {
    await client.end();
  }
}

new Command("db:check").description("Connects as the services do and looks at everything that they depend on.").parse();

await runCommand(async () => {
  const isDatabaseWell = await checkDatabase(databaseUrlOfCommand());
  const isBrokerWell = print(await checkJetStream(natsUrlOfCommand()));
  console.log(isDatabaseWell && isBrokerWell ? "all is well" : "something needs mending, see above");
  return isDatabaseWell && isBrokerWell ? 0 : 1;
});
