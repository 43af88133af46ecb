import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";
import { expect, test } from "vitest";
import { startBothStacks } from "#platform/testing/both-stacks.ts";

// A client's preface and empty settings, after which it never says anything again: it answers no ping.
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "latin1");
const unary = {
  ":method": "POST",
  ":path": "/grpc.testing.TestService/Unary",
  "content-type": "application/grpc",
  te: "trailers",
};

test("HTTP/2 peers that answer no ping are cut on both ports, and those that answer stay", async () => {
  await using stacks = await startBothStacks(
    { unary: () => ({}) },
    {
      httpLimits: { idleMs: 100, pingTimeoutMs: 200 },
      edge: { limits: { keepaliveMs: 100, keepaliveTimeoutMs: 200 } },
    },
  );
  const { ca, edgeAddress, url } = stacks.running;
  const node = await ca.node();
  const honest = connectHttp2(url);
  await once(honest, "connect");
  const dead = [
    connectTcp(Number(new URL(url).port), "127.0.0.1"),
    connectTls({
      port: Number(edgeAddress.split(":")[1]),
      host: "127.0.0.1",
      servername: "localhost",
      ca: ca.certificate,
      cert: node.certificate,
      key: node.privateKey,
      ALPNProtocols: ["h2"],
    }),
  ];
  await Promise.all(
    dead.map((socket) => {
      socket.write(preface);
      return once(socket.resume(), "close");
    }),
  );
  expect([honest.closed, honest.destroyed]).toEqual([false, false]);
  honest.destroy();
});

test("a session that nobody uses is asked to leave, one with an open stream is not", async () => {
  await using stacks = await startBothStacks(
    { unary: () => ({}), bidi: (requests) => requests },
    { httpLimits: { idleMs: 50, unusedMs: 150 } },
  );
  const [unused, used] = [connectHttp2(stacks.running.url), connectHttp2(stacks.running.url)];
  const stream = used.request({ ...unary, ":path": "/grpc.testing.TestService/Bidi" });
  stream.write(Buffer.from([0, 0, 0, 0, 0]));
  await once(stream, "response");
  await once(unused, "close");
  expect(used.closed).toBe(false);
  used.destroy();
});

test("a request whose body does not end is reset, a stream of requests may take its time", async () => {
  await using stacks = await startBothStacks(
    { unary: () => ({}), bidi: (requests) => requests },
    { httpLimits: { headersTimeoutMs: 200, requestTimeoutMs: 200 } },
  );
  const session = connectHttp2(stacks.running.url);
  const [slow, stream] = [
    session.request(unary),
    session.request({ ...unary, ":path": "/grpc.testing.TestService/Bidi" }),
  ];
  for (const each of [slow, stream]) {
    each.on("error", () => {});
    each.write(Buffer.from([0, 0, 0, 0, 0]));
  }
  await once(slow.resume(), "close");
  expect(stream.closed).toBe(false);
  session.destroy();
});

test("who leaves without a word, or in the middle of the first, keeps no place among the connections", async () => {
  const httpLimits = { headersTimeoutMs: 600_000, requestTimeoutMs: 600_000 };
  await using stacks = await startBothStacks({ unary: () => ({}) }, { httpLimits });
  for (const words of ["", "PR"]) {
    const socket = connectTcp(Number(new URL(stacks.running.url).port), "127.0.0.1");
    socket.end(words);
    await once(socket.resume(), "close");
  }
});
