import { startEmbeddedPostgres } from "../embedded-postgres.ts";
import { startNatsServer } from "../nats-server.ts";
import { migrate, migrateWithLogins, urlFor } from "./database.ts";
import type { Home, Secrets } from "./home.ts";
import { freePort } from "./ports.ts";
import type { ServiceName, Settings } from "./settings.ts";
import { type Running, type Supervised, supervise } from "./supervise.ts";

/** PostgreSQL or NATS as the services see it, whoever runs it. */
export interface Database {
  readonly operatorUrl: string;
  /** What the service is given to connect: its own role where the server is ours. */
  environmentOf(service: ServiceName): Record<string, string>;
  readonly process: Supervised<Running> | undefined;
}

export interface Broker {
  urlOf(user: string): string;
  readonly process: Supervised<Running> | undefined;
}

export interface Surroundings {
  readonly home: Home;
  readonly secrets: Secrets;
  readonly settings: Settings;
  readonly say: (line: string) => void;
  readonly onRestarted: () => Promise<void>;
}

export const applicationRoles: Readonly<Record<ServiceName, string>> = {
  auth: "auth_app",
  "user-quota": "user_quota_app",
  "node-registry": "node_registry_app",
};

export async function startDatabase(around: Surroundings, signal: AbortSignal): Promise<Database> {
  const { externalDatabaseUrl } = around.settings;
  if (externalDatabaseUrl !== undefined) {
    return { operatorUrl: externalDatabaseUrl, environmentOf: () => ({}), process: undefined };
  }
  const port = await freePort();
  const process = await supervise({
    name: "postgres",
    start: async () => {
      const server = await startEmbeddedPostgres({ folder: around.home.path("postgres"), port });
      const exited = server.exited.then(({ code, signal: ending }) => ending ?? `exit code ${code}`);
      return { pid: server.pid, url: server.url, exited, stop: server.stop };
    },
    onRestarted: around.onRestarted,
    say: around.say,
    signal,
  });
  const operatorUrl = process.current().url;
  return {
    operatorUrl,
    environmentOf: (service) => {
      const user = applicationRoles[service];
      const password = around.secrets.databasePasswords[user] ?? "";
      const variable = `${service.replace("-", "_").toUpperCase()}_DATABASE_URL`;
      return { [variable]: urlFor(operatorUrl, { user, password }) };
    },
    process,
  };
}

/** Brings the schemas up to date, and lets the services in where the server is ours. */
export async function prepareDatabase(around: Surroundings, database: Database): Promise<void> {
  if (database.process === undefined) await migrate(database.operatorUrl);
  else await migrateWithLogins(database.operatorUrl, around.secrets.databasePasswords);
}

export async function startBroker(around: Surroundings, signal: AbortSignal): Promise<Broker> {
  const { externalNatsUrl } = around.settings;
  if (externalNatsUrl !== undefined) return { urlOf: () => externalNatsUrl, process: undefined };
  const port = await freePort();
  const process = await supervise({
    name: "nats",
    start: () =>
      startNatsServer({
        folder: around.home.path("nats"),
        port,
        passwords: around.secrets.natsPasswords,
        say: around.say,
      }),
    onRestarted: around.onRestarted,
    say: around.say,
    signal,
  });
  return { urlOf: (user) => process.current().urlFor(user), process };
}
