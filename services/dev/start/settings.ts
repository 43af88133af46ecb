import { freePort, isFree } from "./ports.ts";

export type ServiceName = "auth" | "user-quota" | "node-registry";

/** Where a service of this start listens. */
export interface ServicePorts {
  readonly port: number;
  readonly opsPort: number;
}

export interface Settings {
  readonly ports: Readonly<Record<ServiceName, ServicePorts>>;
  readonly nodeEdgePort: number;
  /** Set when somebody else runs PostgreSQL or NATS. */
  readonly externalDatabaseUrl: string | undefined;
  readonly externalNatsUrl: string | undefined;
}

/** For several control planes on one machine. */
export const anyPort = { AUTH_PORT: "0", USER_QUOTA_PORT: "0", NODE_REGISTRY_PORT: "0", NODE_EDGE_PORT: "0" };

/** What the user set goes before ours. An empty variable counts as unset, as it does for the services. */
export function preferSet(env: NodeJS.ProcessEnv, ours: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...ours, ...Object.fromEntries(Object.entries(env).filter(([, value]) => value !== "")) };
}

/**
 * Ports are settled before anything starts: the services are told each other's addresses, and an occupied port is
 * reported by its variable's name instead of by a service that never gets ready.
 */
export async function readSettings(env: NodeJS.ProcessEnv): Promise<Settings> {
  const problems: string[] = [];
  const names = new Map<number, string>();
  const main = async (name: string, fallback: number): Promise<number> => {
    const wanted = Number(env[name] || fallback);
    if (!Number.isInteger(wanted) || wanted < 0 || wanted > 65_535) {
      problems.push(`${name} must be a port from 0 to 65535 (0 picks a free one)`);
      return 0;
    }
    if (wanted === 0) return await freePort();
    const other = names.get(wanted);
    if (other !== undefined) problems.push(`${name} and ${other} must not be the same port (${wanted})`);
    else if (!(await isFree(wanted)))
      problems.push(`port ${wanted} is taken by another program: set ${name} to another, or to 0`);
    names.set(wanted, name);
    return wanted;
  };
  // Nobody is told an ops port in advance, so its default gives way: to another program, and to whoever asked for
  // free ports because several control planes share this machine.
  const ops = async (name: string, fallback: number, mainName: string): Promise<number> => {
    if (env[name]) return await main(name, fallback);
    return env[mainName] !== "0" && (await isFree(fallback)) ? fallback : await freePort();
  };
  const settings: Settings = {
    ports: {
      auth: { port: await main("AUTH_PORT", 7101), opsPort: await ops("AUTH_OPS_PORT", 7191, "AUTH_PORT") },
      "user-quota": {
        port: await main("USER_QUOTA_PORT", 7102),
        opsPort: await ops("USER_QUOTA_OPS_PORT", 7192, "USER_QUOTA_PORT"),
      },
      "node-registry": {
        port: await main("NODE_REGISTRY_PORT", 7103),
        opsPort: await ops("NODE_REGISTRY_OPS_PORT", 7193, "NODE_REGISTRY_PORT"),
      },
    },
    nodeEdgePort: await main("NODE_EDGE_PORT", 7443),
    externalDatabaseUrl: env.DATABASE_URL || undefined,
    externalNatsUrl: env.NATS_URL || undefined,
  };
  if (problems.length > 0) throw new Error(problems.join("\n"));
  return settings;
}
