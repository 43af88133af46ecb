import type { Broker, Database, Surroundings } from "./infrastructure.ts";
import { type ServiceProcess, startServiceProcess } from "./service-process.ts";
import { preferSet, type ServiceName } from "./settings.ts";
import { type Supervised, supervise } from "./supervise.ts";

export type Services = Readonly<Record<ServiceName, Supervised<ServiceProcess>>>;

/** Starts the three services side by side; resolves when each has been ready once. */
export async function startServices(
  around: Surroundings,
  database: Database,
  broker: Broker,
  signal: AbortSignal,
): Promise<Services> {
  const start = (name: ServiceName) =>
    supervise({
      name,
      start: () =>
        startServiceProcess({
          name,
          script: `services/${name}/main.ts`,
          env: environmentOf(around, database, broker, name),
          logPath: around.home.path("logs", `${name}.log`),
          signal,
        }),
      onRestarted: around.onRestarted,
      say: around.say,
      signal,
    });
  const starts = [start("auth"), start("user-quota"), start("node-registry")] as const;
  try {
    const [auth, userQuota, nodeRegistry] = await Promise.all(starts);
    return { auth, "user-quota": userQuota, "node-registry": nodeRegistry };
  } catch (error) {
    // The start was given up while some were ready already: nobody else would stop those.
    const settled = await Promise.allSettled(starts);
    await Promise.all(settled.map((one) => (one.status === "fulfilled" ? one.value.stop() : undefined)));
    throw error;
  }
}

function environmentOf(around: Surroundings, database: Database, broker: Broker, name: ServiceName): NodeJS.ProcessEnv {
  const { settings, secrets } = around;
  const host = process.env.HOST || "127.0.0.1";
  const wantedLocally = {
    NODE_ALLOW_PRIVATE_ADDRESSES: "true",
    NODE_COMPILE_CACHE: around.home.path("compile-cache"), // a restarted service is back sooner
    KEY_ENCRYPTION_KEY: secrets.keyEncryptionKey,
  };
  return {
    ...preferSet(process.env, wantedLocally),
    ...database.environmentOf(name),
    HOST: host,
    PORT: String(settings.ports[name].port),
    OPS_PORT: String(settings.ports[name].opsPort),
    NODE_EDGE_PORT: String(settings.nodeEdgePort),
    NATS_URL: broker.urlOf(name),
    AUTH_URL: urlOf(settings.ports.auth.port),
    USER_QUOTA_URL: urlOf(settings.ports["user-quota"].port),
    NODE_REGISTRY_URL: urlOf(settings.ports["node-registry"].port),
    SERVICE_CLIENT_ID: name,
    SERVICE_CLIENT_SECRET: secrets.serviceClients[name] ?? "",
  };
}

export function urlOf(port: number): string {
  return `http://127.0.0.1:${port}`;
}
