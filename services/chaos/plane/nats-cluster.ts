import { type NatsServer, startNatsServer } from "../../dev/nats-server.ts";
import { freePort } from "../../dev/start/ports.ts";
import { sendSignal } from "../../dev/start/processes.ts";

export interface NatsCluster extends AsyncDisposable {
  readonly size: number;
  /** All servers, for a client that knows them all. */
  urlOf(user: string): string;
  portOf(index: number): number;
  pidOf(index: number): number;
  kill(index: number): Promise<void>;
  start(index: number): Promise<void>;
}

const SIZE = 3;

/** Three servers of one cluster, empty. They are not restarted by themselves. */
export async function startNatsCluster(folder: string, passwords: Record<string, string>): Promise<NatsCluster> {
  const indexes = Array.from({ length: SIZE }, (_, index) => index);
  const ports: { readonly client: number; readonly cluster: number }[] = [];
  for (const _ of indexes) ports.push({ client: await freePort(), cluster: await freePort() });
  const servers = new Map<number, NatsServer>();
  const start = async (index: number) => {
    const own = ports[index];
    if (own === undefined) throw new Error(`there is no server ${index}`);
    const routes = ports.filter((one) => one !== own).map(({ cluster }) => `nats://127.0.0.1:${cluster}`);
    const server = await startNatsServer({
      folder: `${folder}-${index}`,
      port: own.client,
      passwords,
      settings: {
        server_name: `n${index}`,
        cluster: { name: "chaos", host: "127.0.0.1", port: own.cluster, routes },
      },
    });
    servers.set(index, server);
  };
  // Side by side: JetStream of one alone waits for the others.
  await Promise.all(indexes.map(start));
  return {
    size: SIZE,
    urlOf: (user) => indexes.map((index) => servers.get(index)?.urlFor(user) ?? "").join(","),
    portOf: (index) => ports[index]?.client ?? 0,
    pidOf: (index) => servers.get(index)?.pid ?? 0,
    start,
    kill: async (index) => {
      const server = servers.get(index);
      sendSignal(server?.pid ?? 0, "SIGKILL");
      await server?.exited;
    },
    [Symbol.asyncDispose]: async () => void (await Promise.all([...servers.values()].map((server) => server.stop()))),
  };
}
