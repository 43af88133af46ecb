import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from "node:http2";
import { buffer } from "node:stream/consumers";
import { Code } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RpcError } from "#platform/rpc/errors.ts";
import { type BothStacks, startBothStacks } from "#platform/testing/both-stacks.ts";
import { TestProtocol } from "#platform/testing/test-protocol.ts";
import { grpcProtocols, requestStreams, type WireProtocol, webProtocols } from "#platform/testing/wire-protocols.ts";

const PATIENCE = { timeout: 20_000 };

/** Reads the first of many requests and no more. */
async function earlyAnswer(requests: AsyncIterable<{ readonly value: string }>): Promise<string> {
  for await (const { value } of requests) {
    if (value === "refuse") throw new RpcError({ code: Code.FailedPrecondition, message: "not this one" });
    break;
  }
  return "early";
}

let stacks: BothStacks;
beforeAll(async () => {
  stacks = await startBothStacks({
    unary: (request) => request,
    serverStream: async function* (request) {
      yield request;
    },
    clientStream: async (requests) => ({ value: await earlyAnswer(requests) }),
    bidi: async function* (requests) {
      yield { value: await earlyAnswer(requests) };
    },
  });
});
afterAll(() => stacks[Symbol.asyncDispose]());

async function connectTo(port: "main" | "edge"): Promise<ClientHttp2Session> {
  const { url, edgeAddress, ca } = stacks.running;
  const { certificate, privateKey } = await ca.node();
  const tls = { ca: ca.certificate, cert: certificate, key: privateKey };
  const edgeUrl = `https://localhost:${edgeAddress.split(":")[1]}`;
  const session = port === "main" ? connectHttp2(url) : connectHttp2(edgeUrl, tls);
  await once(session, "connect");
  return session;
}

const begin = (session: ClientHttp2Session, { method, headers }: WireProtocol) =>
  session.request({ ":method": "POST", ":path": `/${TestProtocol.typeName}/${method}`, ...headers });

async function answerOf(stream: ClientHttp2Stream) {
  let grpcStatus: string | undefined;
  stream.on("trailers", (trailers) => (grpcStatus = String(trailers["grpc-status"])));
  const [head] = await once(stream, "response");
  const body = await buffer(stream);
  return { status: head[":status"], body, grpcStatus: grpcStatus ?? head["grpc-status"] };
}

const onMain = [...requestStreams.http2, ...requestStreams.grpc].map((protocol) => ({
  port: "main" as const,
  protocol,
}));
const onEdge = requestStreams.grpc.map((protocol) => ({ port: "edge" as const, protocol }));

test.for([...onMain, ...onEdge])(
  "an answer that waits for no end of the requests is whole: $port, $protocol.name",
  async ({ port, protocol }) => {
    const session = await connectTo(port);
    const stream = begin(session, protocol);
    stream.write(protocol.encode("one of many"));
    expect(protocol.decode(await answerOf(stream))).toBe("early");
    // Nobody reads what still comes, and the client is told so.
    await expect.poll(() => stream.destroyed, PATIENCE).toBe(true);
    expect([stream.rstCode, session.destroyed]).toEqual([0, false]);
    session.destroy();
  },
);

test.for(requestStreams.grpc)("a node whose requests are refused is told to send no more: $name", async (protocol) => {
  const session = await connectTo("edge");
  const stream = begin(session, protocol);
  stream.write(protocol.encode("refuse"));
  expect(await answerOf(stream)).toMatchObject({ grpcStatus: String(Code.FailedPrecondition) });
  await expect.poll(() => stream.destroyed, PATIENCE).toBe(true);
  expect([stream.rstCode, session.destroyed]).toEqual([0, false]);
  session.destroy();
});

const spoken = [
  ...[...webProtocols, ...grpcProtocols].map((protocol) => ({ port: "main" as const, protocol })),
  ...grpcProtocols.map((protocol) => ({ port: "edge" as const, protocol })),
];

test("a client that leaves is answered what it has begun", async () => {
  for (const { port, protocol } of spoken) {
    const session = await connectTo(port);
    const stream = begin(session, protocol);
    const body = protocol.encode("the last one");
    stream.write(body.subarray(0, -1));
    await new Promise((resolve) => session.ping(resolve));
    // It begins nothing more, and waits for what it has begun.
    session.goaway();
    await new Promise((resolve) => session.ping(resolve));
    stream.end(body.subarray(-1));
    expect(protocol.decode(await answerOf(stream)), `${port}, ${protocol.name}`).toBe("the last one");
    session.destroy();
  }
});
