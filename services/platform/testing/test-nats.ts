import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type NatsServer, type NatsServerSettings, natsUserNames, startNatsServer } from "../../dev/nats-server.ts";

/** A nats-server of its own, with the users and permissions of `npm start`. */
export interface TestNats extends AsyncDisposable {
  readonly folder: string;
  readonly port: number;
  readonly pid: number;
  /** For `auth`, `user-quota`, `node-registry`, `subscriber` or `operator`. */
  url(user: string): string;
  stop(): Promise<void>;
  /** SIGKILL, as a crash would end it. */
  kill(): Promise<void>;
  /** Again on the same port with the same data. */
  start(): Promise<void>;
}

export async function startTestNats(settings: NatsServerSettings = {}): Promise<TestNats> {
  const folder = await mkdtemp(join(tmpdir(), "decentrastore-nats-"));
  const passwords = Object.fromEntries(natsUserNames.map((user) => [user, randomBytes(12).toString("hex")]));
  const asked = new WeakSet<NatsServer>();
  const start = async (port?: number): Promise<NatsServer> => {
    const started = await startNatsServer({ folder, passwords, settings, ...(port === undefined ? {} : { port }) });
    void started.exited.then(async (reason) => {
      if (asked.has(started)) return;
      const log = await readFile(join(folder, "nats-server.log"), "utf8");
      throw new Error(`nats-server ended by itself (${reason}):\n${log.slice(-4_000)}`);
    });
    return started;
  };
  let server = await start();
  const { port } = server;
  const ending = () => {
    asked.add(server);
    return server;
  };
  return {
    folder,
    port,
    get pid() {
      return server.pid;
    },
    url: (user) => server.urlFor(user),
    stop: () => ending().stop(),
    kill: async () => {
      process.kill(ending().pid, "SIGKILL");
      await server.exited;
    },
    start: async () => {
      server = await start(port);
    },
    [Symbol.asyncDispose]: async () => {
      await ending().stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
