import { once } from "node:events";
import { type ClientHttp2Session, connect, type IncomingHttpHeaders, type OutgoingHttpHeaders } from "node:http2";
import { gzipSync } from "node:zlib";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { StringValueSchema } from "@bufbuild/protobuf/wkt";
import { Code, type HandlerContext } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { createTestGrpcClient, failureOf } from "#platform/testing/grpc-client.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { TestProtocol } from "#platform/testing/test-protocol.ts";
import { startTestService } from "#platform/testing/test-service.ts";

const echo = implementPartly(TestProtocol, { unary: (request) => request });

/** A bare HTTP/2 client of the node edge, which sends what no library would. */
async function startEdge(service = echo, admit: () => void | Promise<void> = () => {}) {
  const edge = { admit, limits: { maxMessageBytes: 1_000 } };
  const running = await startTestService({ edgeServices: [service], edge });
  const node = await running.ca.node();
  const tls = { ca: running.ca.certificate, cert: node.certificate, key: node.privateKey };
  const session = connect(`https://localhost:${running.edgeAddress.split(":")[1]}`, tls);
  session.on("error", () => {});
  await once(session, "connect");
  return {
    session,
    client: () => createTestGrpcClient(running.edgeAddress, { ca: running.ca.certificate, node }),
    [Symbol.asyncDispose]: async () => {
      session.destroy();
      await running[Symbol.asyncDispose]();
    },
  };
}

function open(session: ClientHttp2Session, headers: OutgoingHttpHeaders = {}) {
  const path = "/grpc.testing.TestService/Unary";
  const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc", ...headers });
  return stream.on("error", () => {});
}

/** All headers of the answer, those of its end included, and its body. */
async function answerOf(stream: ReturnType<typeof open>): Promise<{ headers: IncomingHttpHeaders; body: Buffer }> {
  const chunks: Buffer[] = [];
  const headers: IncomingHttpHeaders = {};
  for (const event of ["response", "trailers"]) stream.on(event, (more) => Object.assign(headers, more));
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(stream, "close");
  return { headers, body: Buffer.concat(chunks) };
}

function frameOf(value: string, flag = 0, pack = (bytes: Uint8Array): Uint8Array => bytes): Buffer {
  return framed(pack(toBinary(StringValueSchema, { $typeName: "google.protobuf.StringValue", value })), flag);
}

function framed(message: Uint8Array, flag = 0): Buffer {
  const head = Buffer.from([flag, 0, 0, 0, 0]);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function valueIn(body: Buffer): string {
  expect(body.readUInt32BE(1)).toBe(body.length - 5);
  return fromBinary(StringValueSchema, body.subarray(5)).value;
}

test("a request that comes byte by byte is one message", async () => {
  await using edge = await startEdge();
  const long = Array.from({ length: 70 }, (_, index) => `piece ${index}`).join();
  const stream = open(edge.session);
  for (const byte of frameOf(long)) {
    stream.write(Uint8Array.of(byte));
    await new Promise((resolve) => edge.session.ping(resolve));
  }
  stream.end();
  const { headers, body } = await answerOf(stream);
  expect([headers["grpc-status"], valueIn(body)]).toEqual(["0", long]);
});

test("a compressed request is understood, and refused where the call does not say how", async () => {
  await using edge = await startEdge();
  const named = open(edge.session, { "grpc-encoding": "gzip" });
  named.end(frameOf("packed", 1, gzipSync));
  expect(valueIn((await answerOf(named)).body)).toBe("packed");
  for (const headers of [{}, { "grpc-encoding": "identity" }]) {
    const unnamed = open(edge.session, headers).end(frameOf("packed", 1, gzipSync));
    expect((await answerOf(unnamed)).headers["grpc-status"]).toBe(String(Code.Internal));
  }
});

test.for([
  { what: "no message", bytes: Buffer.alloc(0), code: Code.Unimplemented },
  { what: "half a prefix", bytes: Buffer.alloc(3), code: Code.Unimplemented },
  { what: "half a message", bytes: frameOf("half").subarray(0, -1), code: Code.Unimplemented },
  { what: "two messages", bytes: Buffer.concat([frameOf("one"), frameOf("two")]), code: Code.Unimplemented },
  { what: "a message above the limit", bytes: frameOf("x".repeat(2_000)), code: Code.ResourceExhausted },
  { what: "bytes that are no message", bytes: Buffer.from([0, 0, 0, 0, 1, 0xff]), code: Code.InvalidArgument },
])("$what is refused, and the connection lives on", async ({ bytes, code }) => {
  await using edge = await startEdge();
  const stream = open(edge.session);
  stream.end(bytes);
  expect((await answerOf(stream)).headers["grpc-status"]).toBe(String(code));
  const next = open(edge.session);
  next.end(frameOf("next"));
  expect(valueIn((await answerOf(next)).body)).toBe("next");
});

test("what is too large is refused before it has come, and its stream closed", async () => {
  await using edge = await startEdge();
  const stream = open(edge.session);
  stream.write(frameOf("x".repeat(2_000)).subarray(0, 100));
  expect((await answerOf(stream)).headers["grpc-status"]).toBe(String(Code.ResourceExhausted));
});

test("a request that is not complete at its deadline is answered then", async () => {
  await using edge = await startEdge();
  const stream = open(edge.session, { "grpc-timeout": "50m" });
  stream.write(frameOf("late").subarray(0, 7));
  const { headers } = await answerOf(stream);
  expect(headers["grpc-status"]).toBe(String(Code.DeadlineExceeded));
  expect(headers["grpc-status-details-bin"]).toBeDefined();
});

test.for(["99999999H", "99999999S", "2147484S"])(
  "a deadline of %s, beyond Node's timers, is far away",
  async (timeout) => {
    await using edge = await startEdge();
    const answer = answerOf(open(edge.session, { "grpc-timeout": timeout }).end(frameOf("in time")));
    expect(valueIn((await answer).body)).toBe("in time");
  },
);

test("a call that is taken back before it is complete does not reach its handler", async () => {
  const reached: string[] = [];
  const remembering = implementPartly(TestProtocol, {
    unary: (request) => {
      reached.push(request.value);
      return request;
    },
  });
  await using edge = await startEdge(remembering);
  const stream = open(edge.session);
  stream.write(frameOf("taken back"));
  await new Promise((resolve) => edge.session.ping(resolve));
  // Without an end of the request before the reset, which `close` would send.
  stream.destroy();
  await answerOf(open(edge.session).end(frameOf("next")));
  expect(reached).toEqual(["next"]);
});

test("a call that is admitted after its deadline keeps its request and its headers", async () => {
  const { parent, name, input } = NodeService.method.heartbeat;
  const admitted = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<readonly unknown[]>();
  const remembering = implementPartly(NodeService, {
    heartbeat: ({ sequence }, context) => {
      reached.resolve([sequence, context.requestHeader.get("asked")]);
      return {};
    },
  });
  await using edge = await startEdge(remembering, () => admitted.promise);
  const headers = { ":path": `/${parent.typeName}/${name}`, "grpc-timeout": "50m", asked: "yes" };
  const stream = open(edge.session, headers).end(framed(toBinary(input, create(input, { sequence: 7n }))));
  const answer = await answerOf(stream);
  expect(answer.headers["grpc-status"]).toBe(String(Code.DeadlineExceeded));
  admitted.resolve();
  expect(await reached.promise).toEqual([7n, "yes"]);
});

test.for([
  { what: "the client's reset", end: (stream: ReturnType<typeof open>) => stream.close(8) },
  { what: "the end of the connection", end: ({ session }: ReturnType<typeof open>) => session?.destroy() },
])("a handler's signal is aborted by $what", async ({ end }) => {
  const started = Promise.withResolvers<HandlerContext>();
  const aborted = Promise.withResolvers<void>();
  const waiting = implementPartly(TestProtocol, {
    unary: async (request, context) => {
      context.signal.addEventListener("abort", () => aborted.resolve());
      started.resolve(context);
      await aborted.promise;
      return request;
    },
  });
  await using edge = await startEdge(waiting);
  const stream = open(edge.session);
  stream.end(frameOf("waits"));
  const { signal } = await started.promise;
  end(stream);
  await aborted.promise;
  expect(signal.aborted).toBe(true);
});

test("headers and trailers of the handler, and its errors, reach the client", async () => {
  const marking = implementPartly(TestProtocol, {
    unary: (request, context) => {
      context.responseHeader.set("first", context.requestHeader.get("asked") ?? "");
      context.responseTrailer.set("last-bin", Buffer.from("trailer").toString("base64"));
      if (request.value === "fail") throw new Error("not for clients: 100 % secret");
      return request;
    },
  });
  await using edge = await startEdge(marking);
  const stream = open(edge.session, { asked: "yes" });
  stream.end(frameOf("marked"));
  const { headers } = await answerOf(stream);
  expect([headers.first, headers["last-bin"]]).toEqual(["yes", Buffer.from("trailer").toString("base64")]);
  using client = edge.client();
  const error = await failureOf(client.unary(TestProtocol.method.unary, { value: "fail" }));
  expect([error.code, error.details]).toEqual([Code.Internal, "internal error"]);
});

test("a header that HTTP/2 forbids is an internal error and not an endless call", async () => {
  const forbidden = implementPartly(TestProtocol, {
    unary: (request, context) => {
      context.responseHeader.set("connection", "keep-alive");
      return request;
    },
  });
  await using edge = await startEdge(forbidden);
  const stream = open(edge.session);
  stream.end(frameOf("x"));
  expect((await answerOf(stream)).headers["grpc-status"]).toBe(String(Code.Internal));
});
