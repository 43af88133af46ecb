import { once } from "node:events";
import { rm } from "node:fs/promises";
import { natsUserNames } from "../nats-server.ts";
import { bootstrapAccounts, issueJoinToken, serviceClientNames } from "./bootstrap.ts";
import type { DevFile } from "./dev-file.ts";
import { endEarlierProcesses, type Home, openHome, openSecrets, recordProcesses, writePrivately } from "./home.ts";
import {
  applicationRoles,
  type Broker,
  type Database,
  prepareDatabase,
  startBroker,
  startDatabase,
} from "./infrastructure.ts";
import { type Services, startServices, urlOf } from "./main-services.ts";
import { record } from "./processes.ts";
import { readSettings } from "./settings.ts";
import { addressTable } from "./table.ts";

interface Parts {
  readonly database: Database;
  readonly broker: Broker;
  readonly services: Services;
}

/**
 * Brings the whole control plane up in its home folder, keeps it up, and takes it down in order (services, NATS,
 * PostgreSQL) when `signal` fires. `dev.json` appears when everything is ready and is rewritten after each restart.
 */
export async function runControlPlane(env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<void> {
  const startedAt = performance.now();
  const say = (line: string) => process.stdout.write(`${line}\n`);
  const home = await openHome(env);
  await endEarlierProcesses(home, say);
  await rm(home.path("dev.json"), { force: true });
  await recordEverything(home, {});
  const settings = await readSettings(env);
  const secrets = await openSecrets(home, {
    clients: serviceClientNames,
    nats: natsUserNames,
    databases: Object.values(applicationRoles),
  });

  await using stack = new AsyncDisposableStack();
  const parts: Partial<Parts> = {};
  let devFile: DevFile | undefined;
  const onRestarted = async () => {
    await recordEverything(home, parts);
    if (devFile === undefined) return;
    devFile = { ...devFile, pids: pidsOf(parts) };
    await writePrivately(home.path("dev.json"), devFile);
  };
  const around = { home, secrets, settings, say, onRestarted };

  const database = await startDatabase(around, signal);
  stack.defer(() => database.process?.stop());
  const broker = await startBroker(around, signal);
  stack.defer(() => broker.process?.stop());
  Object.assign(parts, { database, broker });
  await recordEverything(home, parts);
  await prepareDatabase(around, database);
  if (signal.aborted) return;
  const [joinToken] = await Promise.all([issueJoinToken(around, database), bootstrapAccounts(around, database)]);

  const services = await startServices(around, database, broker, signal);
  stack.defer(async () => {
    await Promise.all(Object.values(services).map((service) => service.stop()));
  });
  Object.assign(parts, { services });
  await recordEverything(home, parts);
  if (signal.aborted) return;

  devFile = {
    authUrl: urlOf(settings.ports.auth.port),
    userQuotaUrl: urlOf(settings.ports["user-quota"].port),
    nodeRegistryUrl: urlOf(settings.ports["node-registry"].port),
    nodeEdgeAddress: `localhost:${settings.nodeEdgePort}`, // a name: TLS clients of newer Node versions refuse an address
    caCertificatePath: home.path("ca.pem"),
    natsUrl: broker.urlOf("subscriber"),
    databaseUrl: database.operatorUrl,
    admin: { username: "admin", password: secrets.adminPassword },
    joinToken,
    serviceClient: { clientId: "dev", clientSecret: secrets.serviceClients.dev ?? "" },
    pids: pidsOf(parts),
  };
  await writePrivately(home.path("dev.json"), devFile);
  say(addressTable(devFile, settings, home, performance.now() - startedAt));

  if (!signal.aborted) await once(signal, "abort");
  say("stopping: services, then NATS, then PostgreSQL");
  await rm(home.path("dev.json"), { force: true }); // nobody shall read addresses that are no more
}

function pidsOf(parts: Partial<Parts>): DevFile["pids"] {
  const { database, broker, services } = parts;
  return {
    auth: services?.auth.current().pid ?? 0,
    userQuota: services?.["user-quota"].current().pid ?? 0,
    nodeRegistry: services?.["node-registry"].current().pid ?? 0,
    postgres: database?.process?.current().pid,
    nats: broker?.process?.current().pid,
  };
}

/** The launcher first: whoever ends this list later must end it before it restarts the others. */
async function recordEverything(home: Home, parts: Partial<Parts>): Promise<void> {
  const { auth, userQuota, nodeRegistry, nats, postgres } = pidsOf(parts);
  const listed = Object.entries({ launcher: process.pid, auth, userQuota, nodeRegistry, nats, postgres });
  const recorded = await Promise.all(listed.map(([name, pid]) => (pid ? record(name, pid) : undefined)));
  await recordProcesses(
    home,
    recorded.flatMap((entry) => entry ?? []),
  );
}
