import { natsUserNames } from "../../dev/nats-server.ts";
import { bootstrapAccounts, issueJoinToken, serviceClientNames } from "../../dev/start/bootstrap.ts";
import { migrateWithLogins } from "../../dev/start/database.ts";
import { type Home, openHome, openSecrets, type Secrets } from "../../dev/start/home.ts";
import { applicationRoles, type Surroundings } from "../../dev/start/infrastructure.ts";
import { type ServiceProcess, startServiceProcess } from "../../dev/start/service-process.ts";
import { anyPort, readSettings, type ServiceName, type Settings } from "../../dev/start/settings.ts";
import { type Supervised, supervise } from "../../dev/start/supervise.ts";
import { type LinkName, type ProcessName, serviceNames } from "../fault-plan.ts";
import { type Link, startLink } from "../link.ts";
import { pauseTree } from "./process-tree.ts";
import { type Stores, startSingleStores } from "./stores.ts";

/** Where clients find the system: all through links. */
export interface Addresses {
  readonly authUrl: string;
  readonly userQuotaUrl: string;
  readonly nodeRegistryUrl: string;
  readonly edge: string;
  readonly farEdge: string;
}

export interface Plane {
  readonly home: Home;
  readonly addresses: Addresses;
  readonly links: Readonly<Record<LinkName, Link>>;
  readonly stores: Stores;
  readonly secrets: Secrets;
  readonly joinToken: string;
  readonly opsUrls: readonly string[];
  pidOf(name: ProcessName): number;
  /** Stops the process and all its children where they are; the answer lets them go on. */
  pause(name: ProcessName): Promise<() => void>;
  /** For services that start from now on. */
  setFailpoints(text: string): void;
  service(name: ServiceName): ServiceProcess;
  /** Services that ended by an error of their own. */
  readonly crashes: readonly string[];
}

export interface PlaneOptions {
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  readonly say: (line: string) => void;
  readonly stack: AsyncDisposableStack;
  readonly startStores?: typeof startSingleStores;
}

/** A control plane of its own on free ports, in which every connection goes through a link that can be broken. */
export async function startPlane(options: PlaneOptions): Promise<Plane> {
  const { stack, say } = options;
  const stopping = new AbortController();
  const around = await surroundings(options);
  const { home, secrets, settings } = around;
  const stores = await (options.startStores ?? startSingleStores)(around, stack, stopping.signal);
  await migrateWithLogins(stores.operatorUrl, secrets.databasePasswords);
  const operator = {
    operatorUrl: stores.operatorUrl,
    environmentOf: stores.operatorEnvironmentOf,
    process: undefined,
  };
  const [joinToken] = await Promise.all([issueJoinToken(around, operator), bootstrapAccounts(around, operator)]);
  const links = await startLinks(stack, settings, stores);
  const services = new Map<ServiceName, Supervised<ServiceProcess>>();
  let failpoints = "";
  stack.defer(async () => {
    stopping.abort();
    await Promise.all([...services.values()].map((service) => service.stop()));
  });
  const environment = (name: ServiceName) => ({
    ...serviceEnvironment(around, name, links),
    ...stores.environmentOf(name),
    ...options.env,
    ...(failpoints === "" ? {} : { FAILPOINTS: failpoints, DECENTRASTORE_CHAOS: "1" }),
  });
  const crashes: string[] = [];
  const noteCrash = (name: ServiceName, end: string) => {
    if (/^exit code [^0]/.test(end)) crashes.push(`${name} ended with ${end}`);
  };
  const start = async (name: ServiceName) => {
    const process = { name, script: `services/${name}/main.ts`, logPath: home.path("logs", `${name}.log`) };
    const run = async () => {
      const started = await startServiceProcess({ ...process, env: environment(name), signal: stopping.signal }).catch(
        (error: Error) => {
          noteCrash(name, error.message);
          throw error;
        },
      );
      void started.exited.then((end) => noteCrash(name, end));
      return started;
    };
    const nothing = async () => {};
    services.set(name, await supervise({ name, start: run, onRestarted: nothing, say, signal: stopping.signal }));
  };
  await Promise.all(serviceNames.map(start));
  const service = (name: ServiceName) => {
    const found = services.get(name);
    if (found === undefined) throw new Error(`${name} does not run`);
    return found.current();
  };
  const pidOf = (name: ProcessName) =>
    name === "postgres" || name === "nats" ? stores.pidOf(name) : service(name).pid;
  return {
    ...{ home, secrets, joinToken, links, stores, service, pidOf, crashes },
    addresses: addressesOf(links),
    opsUrls: serviceNames.map((name) => `http://127.0.0.1:${settings.ports[name].opsPort}`),
    pause: (name) => pauseTree(pidOf(name)),
    setFailpoints: (text) => {
      failpoints = text;
    },
  };
}

async function surroundings({ folder, say }: PlaneOptions): Promise<Surroundings> {
  const home = await openHome({ DECENTRASTORE_HOME: folder });
  const settings = await readSettings(anyPort);
  const secrets = await openSecrets(home, {
    clients: serviceClientNames,
    nats: natsUserNames,
    databases: Object.values(applicationRoles),
  });
  return { home, settings, secrets, say, onRestarted: async () => {} };
}

async function startLinks(stack: AsyncDisposableStack, settings: Settings, stores: Stores): Promise<Plane["links"]> {
  const link = async (port: number) => stack.use(await startLink(port));
  return {
    auth: await link(settings.ports.auth.port),
    "user-quota": await link(settings.ports["user-quota"].port),
    "node-registry": await link(settings.ports["node-registry"].port),
    edge: await link(settings.nodeEdgePort),
    "edge-far": await link(settings.nodeEdgePort),
    ...stores.links,
  };
}

function addressesOf(links: Plane["links"]): Addresses {
  const url = (name: LinkName) => `http://127.0.0.1:${links[name].port}`;
  return {
    authUrl: url("auth"),
    userQuotaUrl: url("user-quota"),
    nodeRegistryUrl: url("node-registry"),
    edge: `https://localhost:${links.edge.port}`,
    farEdge: `https://localhost:${links["edge-far"].port}`,
  };
}

function serviceEnvironment(around: Surroundings, name: ServiceName, links: Plane["links"]): NodeJS.ProcessEnv {
  const { home, secrets, settings } = around;
  const { authUrl, userQuotaUrl, nodeRegistryUrl } = addressesOf(links);
  return {
    ...process.env,
    NODE_ALLOW_PRIVATE_ADDRESSES: "true",
    NODE_COMPILE_CACHE: home.path("compile-cache"),
    KEY_ENCRYPTION_KEY: secrets.keyEncryptionKey,
    HOST: "127.0.0.1",
    PORT: String(settings.ports[name].port),
    OPS_PORT: String(settings.ports[name].opsPort),
    NODE_EDGE_PORT: String(settings.nodeEdgePort),
    AUTH_URL: authUrl,
    USER_QUOTA_URL: userQuotaUrl,
    NODE_REGISTRY_URL: nodeRegistryUrl,
    SERVICE_CLIENT_ID: name,
    SERVICE_CLIENT_SECRET: secrets.serviceClients[name] ?? "",
  };
}
