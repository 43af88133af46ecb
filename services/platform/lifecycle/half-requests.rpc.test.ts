import { once } from "node:events";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect as connectTcp } from "node:net";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { startBothStacks } from "#platform/testing/both-stacks.ts";
import type { TestService } from "#platform/testing/test-service.ts";

// Longer than a server waits for the last bytes of its last answers.
const LONG_MS = 800;
const path = "/grpc.testing.TestService/Unary";

/** A request of which half has come, and what sends the rest and gives the answer. */
interface HalfRequest {
  finish(): Promise<string>;
}

async function onHttp1({ url }: TestService): Promise<HalfRequest> {
  const socket = connectTcp(Number(new URL(url).port), "127.0.0.1");
  socket.write(`POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 6\r\n\r\n"ha`);
  // A request behind it is answered when it has been read.
  await fetch(`${url}/livez`);
  return {
    finish: () => {
      socket.write('lf"');
      return text(socket);
    },
  };
}

async function onHttp2(session: ClientHttp2Session, contentType: string, body: Buffer): Promise<HalfRequest> {
  const stream = session.request({ ":method": "POST", ":path": path, "content-type": contentType, te: "trailers" });
  stream.write(body.subarray(0, 3));
  await new Promise<void>((resolve, reject) => session.ping((error) => (error === null ? resolve() : reject(error))));
  return {
    finish: () => {
      stream.end(body.subarray(3));
      return text(stream);
    },
  };
}

async function sessionsOf({ url, edgeAddress, ca }: TestService) {
  const { certificate, privateKey } = await ca.node();
  const tls = { ca: ca.certificate, cert: certificate, key: privateKey };
  const sessions = [connectHttp2(url), connectHttp2(`https://localhost:${edgeAddress.split(":")[1]}`, tls)] as const;
  await Promise.all(sessions.map((session) => once(session, "connect")));
  return sessions;
}

async function startSlowly() {
  return startBothStacks({
    unary: async ({ value }) => {
      await delay(LONG_MS);
      return { value };
    },
  });
}

test("a stop waits for what has not come yet of a request, and for the call that it becomes", async () => {
  const stacks = await startSlowly();
  const [main, edge] = await sessionsOf(stacks.running);
  const halves = [await onHttp1(stacks.running), await onHttp2(main, "application/json", Buffer.from('"half"'))];
  const stopped = stacks[Symbol.asyncDispose]();
  await delay(LONG_MS);
  for (const answer of await Promise.all(halves.map(({ finish }) => finish()))) expect(answer).toMatch(/"half"$/);
  await stopped;
  edge.destroy();
});

test("a stop that finds no call waits for the one that a node's request becomes", async () => {
  const stacks = await startSlowly();
  const [main, edge] = await sessionsOf(stacks.running);
  const half = await onHttp2(edge, "application/grpc", Buffer.from("\0\0\0\0\x06\n\x04half", "latin1"));
  const stopped = stacks[Symbol.asyncDispose]();
  expect(await half.finish()).toMatch(/half$/);
  await stopped;
  main.destroy();
});
