import pg from "pg";
import { typeParsers } from "./type-parsers.ts";
import { parseDatabaseUrl } from "./url.ts";

/**
 * A single connection for commands (migrations, backups), with the same URL rules as the pools. Values come out as in
 * the pools; there is no statement timeout.
 */
export async function connectClient(url: string, options: { applicationName: string }): Promise<pg.Client> {
  const target = parseDatabaseUrl(url);
  const config: pg.ClientConfig = {
    database: target.database,
    ssl: target.ssl,
    application_name: options.applicationName,
    connectionTimeoutMillis: target.connectTimeoutMs ?? 10_000,
    keepAlive: true,
    types: typeParsers,
  };
  if (target.host !== undefined) config.host = target.host;
  if (target.port !== undefined) config.port = target.port;
  if (target.user !== undefined) config.user = target.user;
  if (target.password !== undefined) config.password = target.password;
  if (target.options !== undefined) config.options = target.options;
  const client = new pg.Client(config);
  // A lost connection also fails the query that waits for it; without a listener it would end the process.
  client.on("error", () => {});
  await client.connect();
  return client;
}
