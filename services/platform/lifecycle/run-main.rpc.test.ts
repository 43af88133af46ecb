import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { z } from "zod";
import { createTestDatabase } from "#platform/testing/test-database.ts";
import { TestProtocol } from "#platform/testing/test-protocol.ts";

// How long a condition may take to come true on a busy machine.
const PATIENCE = { timeout: 20_000 };

const readySchema = z.object({ type: z.literal("ready"), port: z.int(), opsPort: z.int() });
const file = new URL("../testing/main-process.ts", import.meta.url);

interface Main extends Disposable {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly exited: Promise<{ code: number | null; signal: string | null }>;
}

function start(mode = "serve", env: NodeJS.ProcessEnv = {}): Main {
  const child = fork(file, [mode], { stdio: ["ignore", "pipe", "pipe", "ipc"], env: { ...process.env, ...env } });
  let output = "";
  const streams = [child.stdout, child.stderr].filter((stream) => stream !== null);
  for (const stream of streams) stream.on("data", (chunk) => (output += chunk));
  // What it said last may come after its exit.
  const exited = Promise.all([once(child, "exit"), ...streams.map((stream) => once(stream, "close"))]).then(
    ([[code, signal]]) => ({ code, signal }),
  );
  return { child, exited, output: () => output, [Symbol.dispose]: () => child.kill("SIGKILL") };
}

async function ready({ child }: Main) {
  const [message] = await once(child, "message");
  const { port, opsPort } = readySchema.parse(message);
  const transport = createConnectTransport({ baseUrl: `http://127.0.0.1:${port}`, httpVersion: "1.1" });
  return { client: createClient(TestProtocol, transport), port, opsPort };
}

test.each(["SIGTERM", "SIGINT"] as const)("%s finishes what is in flight and ends with 0", async (signal) => {
  using main = start();
  const { client, opsPort } = await ready(main);
  const metrics = await (await fetch(`http://127.0.0.1:${opsPort}/metrics`)).text();
  expect(metrics).toContain("nodejs_eventloop_lag_seconds");
  const call = client.unary({ value: "400" });
  await expect.poll(() => main.output(), PATIENCE).toContain("answering 400");
  main.child.kill(signal);
  expect((await call).value).toBe("400");
  expect(await main.exited).toEqual({ code: 0, signal: null });
  expect(main.output()).toContain("stopped");
  expect(main.output()).not.toContain("left open");
});

test("a second signal ends the process at once", async () => {
  using main = start();
  const { client } = await ready(main);
  const call = client.unary({ value: "20000" }).catch((error: unknown) => error);
  await expect.poll(() => main.output(), PATIENCE).toContain("answering 20000");
  main.child.kill("SIGTERM");
  await expect.poll(() => main.output(), PATIENCE).toContain("stopping");
  main.child.kill("SIGTERM");
  expect(await main.exited).toEqual({ code: 143, signal: null });
  expect(await call).toBeInstanceOf(Error);
});

test("a stop that does not come to its end is ended at its deadline, and says so", async () => {
  using main = start("stuck");
  await ready(main);
  main.child.kill("SIGTERM");
  expect(await main.exited).toEqual({ code: 1, signal: null });
  expect(main.output()).toContain("the stop takes too long");
});

test("a process whose parent is gone stops", async () => {
  using main = start();
  await ready(main);
  main.child.disconnect();
  expect(await main.exited).toEqual({ code: 0, signal: null });
});

test("what nobody catches is logged and ends the process", async () => {
  using main = start();
  const { client } = await ready(main);
  await client.unary({ value: "crash" }).catch(() => {});
  expect((await main.exited).code).toBe(1);
  expect(main.output()).toContain("nobody catches this");
});

test("a start that fails says why", async () => {
  using main = start("fail");
  expect((await main.exited).code).toBe(1);
  expect(main.output()).toContain("no configuration");
});

test("a start that loses its database on the way begins anew", async () => {
  await using db = await createTestDatabase();
  using main = start("lose", { DATABASE_URL: db.url("auth_app") });
  const { client } = await ready(main);
  expect(main.output()).toContain("the database went away during the start");
  expect((await client.unary({ value: "0" })).value).toBe("0");
});

test("a start whose database never comes ends, and says why", async () => {
  await using server = createServer((socket) => socket.destroy());
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  using main = start("away", { DATABASE_URL: `postgres://bob@127.0.0.1:${address.port}/none?sslmode=disable` });
  expect((await main.exited).code).toBe(1);
  expect(main.output()).toContain("the database could not be reached");
});

test("a start that cannot listen where it is told to ends, and does not blame the database", async () => {
  using main = start("serve", { HOST: "nowhere.invalid" });
  expect((await main.exited).code).toBe(1);
  expect(main.output()).toContain("cannot listen on nowhere.invalid:0, check HOST and PORT");
  expect(main.output()).not.toContain("database");
});

test("a signal during the start ends it", async () => {
  using main = start("hang");
  await expect.poll(() => main.output(), PATIENCE).toContain("starting");
  main.child.kill("SIGTERM");
  expect(await main.exited).toEqual({ code: 0, signal: null });
  expect(main.output()).toContain("stopped while starting");
});
