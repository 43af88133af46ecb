import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { Agent } from "node:http";
import { type ClientHttp2Session, connect as connectHttp2, constants } from "node:http2";
import { connect as connectTcp } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { TestProtocol } from "#platform/testing/test-protocol.ts";
import { startTestService, type TestService } from "#platform/testing/test-service.ts";
import { grpcProtocols, requestStreams, type WireProtocol, webProtocols } from "#platform/testing/wire-protocols.ts";
import { http1Senders, http2Senders, type WireSender } from "#platform/testing/wire-senders.ts";

// How long one answer may take on a busy machine.
const PATIENCE_MS = 30_000;

const echo = implementPartly(TestProtocol, {
  unary: (request) => request,
  serverStream: async function* (request) {
    yield request;
  },
  clientStream: async (requests) => ({ value: (await Array.fromAsync(requests, ({ value }) => value)).join("") }),
  bidi: (requests) => requests,
});

const pathOf = (method: string) => `/${TestProtocol.typeName}/${method}`;
const ping = (session: ClientHttp2Session) =>
  new Promise<void>((resolve, reject) => session.ping((error) => (error === null ? resolve() : reject(error))));

let running: TestService;
/** Of the main port, of a client that pads its frames, and of the node edge. */
let main: ClientHttp2Session;
let padded: ClientHttp2Session;
let edge: ClientHttp2Session;
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
beforeAll(async () => {
  running = await startTestService({ services: [echo], edgeServices: [echo] });
  const { certificate, privateKey } = await running.ca.node();
  const tls = { ca: running.ca.certificate, cert: certificate, key: privateKey };
  main = connectHttp2(running.url);
  padded = connectHttp2(running.url, { paddingStrategy: constants.PADDING_STRATEGY_MAX });
  edge = connectHttp2(`https://localhost:${running.edgeAddress.split(":")[1]}`, tls);
  await Promise.all([main, padded, edge].map((session) => once(session, "connect")));
});
afterAll(async () => {
  agent.destroy();
  for (const session of [main, padded, edge]) session.destroy();
  await running[Symbol.asyncDispose]();
});

/** Every way in which the end of a request comes, with messages that need none, one and many packets. */
async function exchange<C>(connection: C, senders: readonly WireSender<C>[], protocol: WireProtocol): Promise<void> {
  const messages = ["", "tiny", randomBytes(50_000).toString("hex")].map(
    (value) => [value, protocol.encode(value)] as const,
  );
  // A stream of requests may be none at all.
  if (protocol.method === "ClientStream") messages.push(["", Buffer.alloc(0)]);
  for (const [value, body] of messages) {
    for (const { name, send, isForEmpty } of senders) {
      if (isForEmpty && body.byteLength > 0) continue;
      const label = `${value.length} characters in ${body.byteLength} bytes, their end ${name}`;
      const answer = await send(connection, {
        path: pathOf(protocol.method),
        headers: protocol.headers,
        body,
        settle: () => ping(main),
        signal: AbortSignal.timeout(PATIENCE_MS),
      }).catch((cause: unknown) => {
        throw new Error(label, { cause });
      });
      expect(protocol.decode(answer) === value, label).toBe(true);
    }
  }
}

describe("every message of every protocol is answered, however its end comes:", () => {
  const onHttp1 = [...webProtocols, ...requestStreams.web];
  const onEdge = [...grpcProtocols, ...requestStreams.grpc];
  const onHttp2 = [...webProtocols, ...requestStreams.http2, ...onEdge];

  test.for(onHttp1)("HTTP/1.1, $name", (protocol) => exchange({ url: running.url, agent }, http1Senders, protocol));
  test.for(onHttp2)("HTTP/2, $name", (protocol) => exchange(main, http2Senders, protocol));
  test.for(onHttp2)("HTTP/2 with padding, $name", (protocol) => exchange(padded, http2Senders, protocol));
  test.for(onEdge)("the node edge, $name", (protocol) => exchange(edge, http2Senders, protocol));
});

describe("HTTP/1.1 as it is seldom written", () => {
  const post = `POST ${pathOf("Unary")} HTTP/1.1\r\nhost: x\r\n`;
  const lastPost = `${post}connection: close\r\n`;
  const json = "content-type: application/json\r\n";
  const upgrade = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n";

  test.for([
    ["no length and no body", [`${lastPost}content-type: application/proto\r\n\r\n`], []],
    [
      "in chunks of nothing",
      [`${lastPost}content-type: application/proto\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`],
      [],
    ],
    [
      "one behind the other, in one packet",
      [`${post}${json}content-length: 3\r\n\r\n"a"${lastPost}${json}content-length: 3\r\n\r\n"b"`],
      ['"a"', '"b"'],
    ],
    [
      "an offer to go on in HTTP/2",
      [`${post}${json}${upgrade}content-length: 3\r\n\r\n"a"`, `${lastPost}${json}content-length: 3\r\n\r\n"b"`],
      ['"a"', '"b"'],
    ],
    [
      "a page that does not exist, with a body that nobody reads",
      [
        `POST /nope HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n${"x".repeat(100_000)}`,
        `${lastPost}${json}content-length: 3\r\n\r\n"b"`,
      ],
      ['"b"'],
    ],
  ] as const)("%s", async ([_name, parts, values]) => {
    const socket = connectTcp(Number(new URL(running.url).port), "127.0.0.1");
    let answer = "";
    socket.on("data", (piece) => (answer += piece));
    const closed = once(socket, "close");
    for (const part of parts) {
      socket.write(part);
      await once(socket, "data");
    }
    await closed;
    expect(answer.match(/HTTP\/1\.1 200/g)).toHaveLength(Math.max(1, values.length));
    expect(answer.match(/"[ab]"/g) ?? []).toEqual(values);
  });
});
