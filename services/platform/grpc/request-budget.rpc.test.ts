import { once } from "node:events";
import { type ClientHttp2Session, connect, type OutgoingHttpHeaders } from "node:http2";
import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { createTestGrpcClient } from "#platform/testing/grpc-client.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { TestProtocol } from "#platform/testing/test-protocol.ts";
import { startTestService } from "#platform/testing/test-service.ts";

const KIB = 1024;
const PATH = "/grpc.testing.TestService/Unary";

/** A request of 200 KiB without its last byte. */
function begin(session: ClientHttp2Session, headers: OutgoingHttpHeaders) {
  const plain = { ":method": "POST", ":path": PATH, "content-type": "application/grpc" };
  const stream = session.request({ ...plain, ...headers });
  stream.on("error", () => {}).resume();
  const head = Buffer.from([0, 0, 0, 0, 0]);
  head.writeUInt32BE(200 * KIB, 1);
  stream.write(Buffer.concat([head, Buffer.alloc(200 * KIB - 1)]));
  return stream;
}

test.for([
  { kind: "plain", headers: {} },
  { kind: "compressed, which grpc-js reads", headers: { "grpc-encoding": "gzip" } },
])("a node that ends none of its large requests is refused, and no other node: $kind", async ({ headers }) => {
  const echo = implementPartly(TestProtocol, { unary: (request) => request });
  await using running = await startTestService({
    edgeServices: [echo],
    edge: { limits: { maxUnfinishedBytesPerNode: 1024 * KIB } },
  });
  const ca = running.ca.certificate;
  const [hostile, honest] = [await running.ca.node(), await running.ca.node()];
  const tls = { ca, cert: hostile.certificate, key: hostile.privateKey };
  const url = `https://localhost:${running.edgeAddress.split(":")[1]}`;
  const sessions = [connect(url, tls), connect(url, tls)];
  for (const session of sessions) session.on("error", () => {});
  await Promise.all(sessions.map((session) => once(session, "connect")));
  // 2 MiB over two connections, none of which is over the limit by itself.
  const answers = sessions.flatMap((session) =>
    Array.from({ length: 5 }, async () => {
      const [answer] = await once(begin(session, headers), "response");
      return answer;
    }),
  );
  const refusal = await Promise.race(answers);
  expect(refusal["grpc-status"]).toBe(String(Code.ResourceExhausted));
  expect(refusal["grpc-status-details-bin"]).toBeTypeOf("string");

  using client = createTestGrpcClient(running.edgeAddress, { ca, node: honest });
  const value = "x".repeat(500 * KIB);
  expect((await client.unary(TestProtocol.method.unary, { value })).value).toHaveLength(value.length);
  for (const answer of answers) answer.catch(() => {});
  for (const session of sessions) session.destroy();
  using again = createTestGrpcClient(running.edgeAddress, { ca, node: hostile });
  await expect
    .poll(() => again.unary(TestProtocol.method.unary, { value }).then((answer) => answer.value?.length), {
      timeout: 20_000,
    })
    .toBe(value.length);
});

test("large requests that are complete do not count, however many", async () => {
  const echo = implementPartly(TestProtocol, { unary: (request) => request });
  await using running = await startTestService({
    edgeServices: [echo],
    edge: { limits: { maxUnfinishedBytesPerNode: 600 * KIB } },
  });
  const node = await running.ca.node();
  using client = createTestGrpcClient(running.edgeAddress, { ca: running.ca.certificate, node });
  const value = "x".repeat(500 * KIB);
  for (let index = 0; index < 5; index += 1) {
    expect((await client.unary(TestProtocol.method.unary, { value })).value).toHaveLength(value.length);
  }
});

test("large requests of one node are read at their rate, its small ones and those of others at once", async () => {
  const echo = implementPartly(TestProtocol, { unary: (request) => request });
  await using running = await startTestService({
    edgeServices: [echo],
    edge: { limits: { maxBytesPerSecond: KIB } },
  });
  const ca = running.ca.certificate;
  const [greedy, other] = [await running.ca.node(), await running.ca.node()];
  using client = createTestGrpcClient(running.edgeAddress, { ca, node: greedy });
  using others = createTestGrpcClient(running.edgeAddress, { ca, node: other });
  let isServed = false;
  const large = client.unary(TestProtocol.method.unary, { value: "x".repeat(500 * KIB) }).then(() => {
    isServed = true;
  });
  large.catch(() => {});
  for (let index = 0; index < 50; index += 1) {
    const value = String(index);
    expect((await client.unary(TestProtocol.method.unary, { value })).value).toBe(value);
    expect((await others.unary(TestProtocol.method.unary, { value })).value).toBe(value);
  }
  expect(isServed).toBe(false);
});

test("large requests that wait for their turn are whole", async () => {
  const echo = implementPartly(TestProtocol, { unary: (request) => request });
  // Together twice what one second brings.
  const edge = { limits: { maxBytesPerSecond: 200 * KIB } };
  await using running = await startTestService({ edgeServices: [echo], edge });
  using client = createTestGrpcClient(running.edgeAddress, {
    ca: running.ca.certificate,
    node: await running.ca.node(),
  });
  const value = "x".repeat(200 * KIB);
  const calls = [1, 2].map(() => client.unary(TestProtocol.method.unary, { value }));
  for (const answer of await Promise.all(calls)) expect(answer.value === value).toBe(true);
});
