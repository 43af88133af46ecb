import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type ClientHttp2Session, connect, constants } from "node:http2";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { openBeats } from "../testing/beat-stream.ts";
import type { TestNode } from "../testing/registry-clients.ts";
import { type RegistryProcess, serveKeySet, startRegistryProcess } from "../testing/registry-process.ts";
import { beat, createTestNetwork, type TestNetwork } from "../testing/test-registry.ts";

let network: TestNetwork;
let registry: RegistryProcess;
const stack = new AsyncDisposableStack();
beforeAll(async () => {
  network = stack.use(await createTestNetwork());
  const auth = stack.use(await serveKeySet(network.issuer));
  registry = stack.use(await startRegistryProcess(network, auth.url));
});
afterAll(() => stack.disposeAsync());

async function openSession(node: TestNode): Promise<ClientHttp2Session> {
  const session = connect(`https://${registry.edgeAddress}`, {
    ca: node.ca,
    cert: node.certificate,
    key: node.identity.privateKey,
    servername: "localhost",
  });
  session.on("error", () => {});
  await once(session, "connect");
  return session;
}

function openStream(session: ClientHttp2Session) {
  const stream = session.request({
    ":method": "POST",
    ":path": "/decentrastore.node_registry.v1.NodeService/StreamHeartbeats",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => {});
  return stream;
}

/** A heartbeat with sequence 1 and nothing else, as a gRPC frame. */
const frame = Buffer.from([0, 0, 0, 0, 2, 8, 1]);

/** What the hostile node does must not keep another one from being answered, nor fill the registry's memory. */
async function undisturbed(work: (node: TestNode) => Promise<void>): Promise<void> {
  const [hostile, honest] = [await registry.enroll(), await registry.enroll()];
  using client = honest.connect();
  const stream = openBeats(client);
  await stream.exchange(beat(1));
  const before = residentBytes();
  const attack = work(hostile);
  for (let sequence = 2; sequence < 12; sequence += 1) {
    const answer = await stream.exchange(beat(sequence));
    expect(answer).not.toHaveProperty("code");
  }
  await attack;
  expect(await stream.exchange(beat(99))).not.toHaveProperty("code");
  expect(residentBytes() - before).toBeLessThan(150e6);
  // Once it behaves, the hostile node is served as well: nothing of what it opened is left behind.
  using again = hostile.connect();
  await vi.waitFor(async () => expect(await openBeats(again).exchange(beat(1))).not.toHaveProperty("code"), {
    timeout: 20_000,
    interval: 500,
  });
}

function residentBytes(): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${registry.pid}/status`, "utf8"));
  return Number(match?.[1]) * 1_024;
}

test("rapid resets", () =>
  undisturbed(async (node) => {
    const session = await openSession(node);
    for (let index = 0; index < 5_000 && !session.destroyed; index += 1) {
      const stream = openStream(session);
      stream.write(frame);
      stream.close(constants.NGHTTP2_CANCEL);
      if (index % 100 === 0) await new Promise(setImmediate);
    }
    session.destroy();
  }));

test("a flood of pings", () =>
  undisturbed(async (node) => {
    const session = await openSession(node);
    for (let index = 0; index < 20_000 && !session.destroyed; index += 1) {
      session.ping(() => {});
      if (index % 100 === 0) await new Promise(setImmediate);
    }
    session.destroy();
  }));

test("streams whose answers are never read", () =>
  undisturbed(async (node) => {
    const session = await openSession(node);
    const streams = Array.from({ length: 4 }, () => openStream(session).pause());
    const batch = Buffer.concat(Array.from({ length: 1_000 }, () => frame));
    for (let round = 0; round < 500 && !session.destroyed; round += 1) {
      for (const stream of streams) if (stream.writableLength < 1e6 && stream.writable) stream.write(batch);
      await new Promise(setImmediate);
    }
    session.destroy();
  }));

test("half-open connections and messages that never end", () =>
  undisturbed(async (node) => {
    const sessions = await Promise.all(Array.from({ length: 30 }, () => openSession(node)));
    for (const session of sessions) {
      if (session.destroyed) continue;
      // The length promises more than ever comes.
      openStream(session).write(Buffer.from([0, 0, 0, 255, 255, 8]));
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
    for (const session of sessions) session.destroy();
  }));
