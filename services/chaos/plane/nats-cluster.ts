import { connect } from "nats";
import { isStreamName, streamConfig, streamDefinitions } from "#platform/nats/streams.ts";
import { type NatsServer, startNatsServer } from "../../dev/nats-server.ts";
import { freePort } from "../../dev/start/ports.ts";
import { sendSignal } from "../../dev/start/processes.ts";
import { eventually } from "../settle.ts";

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

/** Three servers that keep every stream three times. They are not restarted by themselves. */
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
  const first = servers.get(0);
  if (first === undefined) throw new Error("no server started");
  await makeStreams(first.urlFor("operator"));
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

/** An operator makes the streams with three replicas; services take streams as they find them. */
async function makeStreams(operatorUrl: string): Promise<void> {
  const { host, username, password } = new URL(operatorUrl);
  const connection = await connect({ servers: host, user: username, pass: decodeURIComponent(password) });
  const { streams } = await connection.jetstreamManager({ checkAPI: false });
  for (const name of Object.keys(streamDefinitions)) {
    if (!isStreamName(name)) continue;
    const config = streamConfig(name, { replicas: SIZE, maxBytes: 256 * 1024 * 1024 });
    // The servers have to find each other and to elect one first.
    const problem = await eventually(60_000, async () => void (await streams.add(config)));
    if (problem !== undefined) throw new Error(`the stream ${name} could not be made in the cluster: ${problem}`);
  }
  await connection.close();
}
