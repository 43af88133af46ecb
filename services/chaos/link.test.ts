import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Link, startLink } from "./link.ts";

let stack: AsyncDisposableStack;
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

/** Answers each piece with its own name and the piece. */
async function startEcho(name: string): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("data", (piece) => socket.write(`${name}:${piece}`));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  stack.defer(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

async function open(link: Link): Promise<Socket> {
  const socket = connect(link.port, "127.0.0.1");
  stack.defer(() => void socket.destroy());
  await once(socket, "connect");
  return socket;
}

async function ask(socket: Socket, text: string): Promise<string> {
  const answer = once(socket, "data");
  socket.write(text);
  return String((await answer)[0]);
}

function broken(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""));
    socket.once("close", () => resolve("closed"));
  });
}

test("a link passes data on, late where it is told to, in order", async () => {
  const link = stack.use(await startLink(await startEcho("a")));
  const socket = await open(link);
  expect(await ask(socket, "1")).toBe("a:1");
  link.delay(100);
  const startedAt = performance.now();
  expect(await ask(socket, "2")).toBe("a:2");
  expect(performance.now() - startedAt).toBeGreaterThan(190);
  link.mend();
  expect(await ask(socket, "3")).toBe("a:3");
});

test("a cut link breaks connections and refuses new ones until it is mended", async () => {
  const link = stack.use(await startLink(await startEcho("a")));
  const socket = await open(link);
  await ask(socket, "1");
  const end = broken(socket);
  link.cut();
  expect(await end).toBe("ECONNRESET");
  const refused = connect(link.port, "127.0.0.1");
  expect(["ECONNRESET", "closed"]).toContain(await broken(refused));
  link.mend();
  expect(await ask(await open(link), "2")).toBe("a:2");
});

test("a frozen link is silent, and what it held breaks when it is mended", async () => {
  const link = stack.use(await startLink(await startEcho("a")));
  const socket = await open(link);
  await ask(socket, "1");
  link.freeze();
  let heard = "";
  socket.on("data", (piece) => {
    heard += piece;
  });
  socket.write("2");
  const fresh = await open(link);
  const end = Promise.all([broken(socket), broken(fresh)]);
  link.mend();
  expect(await end).toEqual(["ECONNRESET", "ECONNRESET"]);
  expect(heard).toBe("");
  expect(await ask(await open(link), "3")).toBe("a:3");
});

test("a link leads to another server behind the same address", async () => {
  const [a, b] = await Promise.all([startEcho("a"), startEcho("b")]);
  const link = stack.use(await startLink(a));
  const socket = await open(link);
  await ask(socket, "1");
  const end = broken(socket);
  link.leadTo(b);
  expect(await end).toBe("ECONNRESET");
  expect(await ask(await open(link), "2")).toBe("b:2");
});
