import { startEmbeddedPostgres } from "../../dev/embedded-postgres.ts";
import { startNatsServer } from "../../dev/nats-server.ts";
import { urlFor } from "../../dev/start/database.ts";
import type { Secrets } from "../../dev/start/home.ts";
import { applicationRoles, type Surroundings } from "../../dev/start/infrastructure.ts";
import { freePort } from "../../dev/start/ports.ts";
import type { ServiceName } from "../../dev/start/settings.ts";
import { supervise } from "../../dev/start/supervise.ts";
import { type Link, startLink } from "../link.ts";

/** PostgreSQL and NATS, each behind a link of ours. */
export interface Stores {
  /** For operators: around the links. */
  readonly operatorUrl: string;
  operatorEnvironmentOf(service: ServiceName): Record<string, string>;
  /** For services: through the links. */
  environmentOf(service: ServiceName): Record<string, string>;
  natsUrlOf(user: string): string;
  readonly links: { readonly postgres: Link; readonly nats: Link };
  pidOf(name: "postgres" | "nats"): number;
}

/** One server of each, as `npm start` runs them: restarted when they die. */
export async function startSingleStores(
  around: Surroundings,
  stack: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<Stores> {
  const { home, secrets, say } = around;
  const shared = { say, signal, onRestarted: async () => {} };
  const ports = { postgres: await freePort(), nats: await freePort() };
  const database = await supervise({
    ...shared,
    name: "postgres",
    start: async () => {
      const server = await startEmbeddedPostgres({ folder: home.path("postgres"), port: ports.postgres });
      return { ...server, exited: server.exited.then(({ code, signal: ending }) => ending ?? `exit code ${code}`) };
    },
  });
  stack.defer(() => database.stop());
  const server = { folder: home.path("nats"), port: ports.nats, passwords: secrets.natsPasswords };
  const broker = await supervise({ ...shared, name: "nats", start: () => startNatsServer(server) });
  stack.defer(() => broker.stop());
  const operatorUrl = database.current().url;
  const operatorEnvironmentOf = (service: ServiceName) => loginOf(service, operatorUrl, secrets);
  const links = {
    postgres: stack.use(await startLink(ports.postgres)),
    nats: stack.use(await startLink(ports.nats)),
  };
  return {
    operatorUrl,
    operatorEnvironmentOf,
    environmentOf: (service) => ({
      ...loginOf(service, throughPort(operatorUrl, links.postgres.port), secrets),
      NATS_URL: throughPort(broker.current().urlFor(service), links.nats.port),
    }),
    natsUrlOf: (user) => broker.current().urlFor(user),
    links,
    pidOf: (name) => (name === "nats" ? broker : database).current().pid,
  };
}

/** The variable that tells a service its database, with its own role. */
export function loginOf(service: ServiceName, url: string, { databasePasswords }: Secrets): Record<string, string> {
  const user = applicationRoles[service];
  const variable = `${service.replace("-", "_").toUpperCase()}_DATABASE_URL`;
  return { [variable]: urlFor(url, { user, password: databasePasswords[user] ?? "" }) };
}

export function throughPort(url: string, port: number): string {
  return Object.assign(new URL(url), { port: String(port) }).href;
}
