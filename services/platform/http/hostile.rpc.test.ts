import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { type ClientHttp2Session, connect as connectHttp2, constants } from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { DescService } from "@bufbuild/protobuf";
import { createMethodImplSpec, type MethodImplSpec } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { TokenService } from "#gen/decentrastore/auth/v1/token_service_pb.ts";
import { UserAdminService } from "#gen/decentrastore/auth/v1/user_admin_service_pb.ts";
import { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { EnrollmentService } from "#gen/decentrastore/node_registry/v1/enrollment_service_pb.ts";
import { NodeDirectoryService } from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import type { RpcService } from "#platform/rpc/service.ts";
import { unimplemented } from "#platform/rpc/unimplemented.ts";
import { fuzzRpcs, sendByConnect, sendByGrpc } from "#platform/testing/fuzz-rpcs.ts";
import { createTestGrpcClient } from "#platform/testing/grpc-client.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { TestProtocol } from "#platform/testing/test-protocol.ts";
import { startTestService, type TestService } from "#platform/testing/test-service.ts";

const MIB = 1024 * 1024;
const mainServices = [
  AuthService,
  TokenService,
  UserAdminService,
  UserQuotaService,
  ChunkService,
  EnrollmentService,
  NodeDirectoryService,
];

/** Answers everything with an empty message. */
function willing(service: DescService): RpcService {
  const specs = service.methods.map(
    (method): MethodImplSpec =>
      method.methodKind === "unary"
        ? { kind: "unary", method: { ...method, methodKind: "unary" }, impl: () => ({}) }
        : createMethodImplSpec(method, unimplemented(method)),
  );
  const methods = Object.fromEntries(specs.map((spec) => [spec.method.localName, spec]));
  return { service, spec: { service, methods }, highRate: new Set(), readMaxBytes: undefined };
}

let running: TestService;
beforeAll(async () => {
  const echo = implementPartly(TestProtocol, { unary: (request) => request });
  running = await startTestService({
    services: [...mainServices.map(willing), echo],
    edgeServices: [willing(NodeService), echo],
  });
});
afterAll(() => running[Symbol.asyncDispose]());

/** An honest client gets its answer, and quickly. */
async function expectService(): Promise<void> {
  const startedAt = performance.now();
  const response = await fetch(`${running.url}/decentrastore.auth.v1.AuthService/Login`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  expect(response.status).toBe(200);
  const node = await running.ca.node();
  using client = createTestGrpcClient(running.edgeAddress, { ca: running.ca.certificate, node });
  await client.unary(NodeService.method.heartbeat, {});
  expect(performance.now() - startedAt).toBeLessThan(20_000);
}

describe("random valid messages for every RPC", () => {
  test("are never the server's fault on the main port", async () => {
    const authorization = await running.issuer.user(randomUUID(), { isAdmin: true });
    const send = sendByConnect(running.url, authorization);
    const report = await fuzzRpcs({ services: mainServices, send, seed: 1, messagesPerMethod: 10 });
    expect(report.faults).toEqual([]);
    expect(report.sent).toBeGreaterThan(300);
  });

  test("are never the server's fault on the node edge", async () => {
    const node = await running.ca.node();
    using client = createTestGrpcClient(running.edgeAddress, { ca: running.ca.certificate, node });
    const report = await fuzzRpcs({
      services: [NodeService],
      send: sendByGrpc(client),
      seed: 2,
      messagesPerMethod: 30,
    });
    expect(report.faults).toEqual([]);
  });

  test("random bytes are INVALID_ARGUMENT or a message on the node edge", async () => {
    const node = await running.ca.node();
    using client = createTestGrpcClient(running.edgeAddress, { ca: running.ca.certificate, node });
    const send = sendByGrpc(client);
    for (let i = 0; i < 200; i++) {
      expect([0, 3]).toContain(await send(NodeService.method.reportStoredChunks, randomBytes(i)));
    }
    expect(await send(NodeService.method.reportStoredChunks, randomBytes(2 * MIB))).toBe(8);
  });
});

/** Sockets to both ports, the one of the node edge after its handshake. */
async function openSockets(): Promise<Socket[]> {
  const node = await running.ca.node();
  const edge = connectTls({
    port: Number(running.edgeAddress.split(":")[1]),
    host: "127.0.0.1",
    servername: "localhost",
    ca: running.ca.certificate,
    cert: node.certificate,
    key: node.privateKey,
    ALPNProtocols: ["h2"],
  });
  const main = connectTcp(Number(new URL(running.url).port), "127.0.0.1");
  for (const socket of [edge, main]) socket.on("error", () => {}).resume();
  await Promise.all([once(edge, "secureConnect"), once(main, "connect")]);
  return [edge, main];
}

async function openSessions(): Promise<ClientHttp2Session[]> {
  const node = await running.ca.node();
  const tls = { ca: running.ca.certificate, cert: node.certificate, key: node.privateKey };
  const sessions = [
    connectHttp2(running.url),
    connectHttp2(`https://localhost:${running.edgeAddress.split(":")[1]}`, tls),
  ];
  for (const session of sessions) session.on("error", () => {});
  await Promise.all(sessions.map((session) => once(session, "connect")));
  return sessions;
}

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "latin1");
const unaryHeaders = {
  ":method": "POST",
  ":path": "/grpc.testing.TestService/Unary",
  "content-type": "application/grpc",
  te: "trailers",
};

async function giveUp(session: ClientHttp2Session, requests: number): Promise<void> {
  for (let i = 0; i < requests && !session.destroyed; i++) {
    const stream = session.request(unaryHeaders);
    stream.on("error", () => {});
    stream.close(constants.NGHTTP2_CANCEL);
    if (i % 50 === 49) await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("hostile peers do not stop the service:", () => {
  test("random bytes, before and after an HTTP/2 preface", async () => {
    for (let i = 0; i < 30; i++) {
      for (const socket of await openSockets()) {
        if (i % 2 === 0) socket.write(preface);
        socket.end(randomBytes(1 + i * 100));
      }
    }
    await expectService();
  });

  test("rapid reset ends the session that does it", async () => {
    for (const session of await openSessions()) {
      const closed = once(session, "close").catch(() => {});
      await giveUp(session, 20_000);
      await closed;
    }
    await expectService();
  }, 120_000);

  test("who gives up all its streams, and the next ones too, is served on; more ends the session on both ports", async () => {
    for (const session of await openSessions()) {
      const closed = once(session, "close").catch(() => {}); // with the error that ends it
      await giveUp(session, 150);
      await new Promise<void>((resolve, reject) => session.ping((error) => (error ? reject(error) : resolve())));
      // Node's own limit is 1,000 at once.
      await giveUp(session, 600);
      await closed;
      await expect.poll(() => session.destroyed, { timeout: 20_000 }).toBe(true);
    }
    await expectService();
  }, 60_000);

  test("pings and settings without end", async () => {
    const ping = Buffer.concat([Buffer.from([0, 0, 8, 6, 0, 0, 0, 0, 0]), Buffer.alloc(8)]);
    const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    const before = process.memoryUsage().rss;
    for (const socket of await openSockets()) {
      // Never reads, so that the answers pile up somewhere.
      socket.pause();
      socket.write(preface);
      for (const frame of [ping, settings]) {
        const many = Buffer.concat(Array.from({ length: 1_000 }, () => frame));
        for (let i = 0; i < 200 && socket.writable; i++) socket.write(many);
      }
      await expectService();
      socket.destroy();
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * MIB);
  });

  test("headers without end", async () => {
    for (const session of await openSessions()) {
      const big = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`x-${i}`, "y".repeat(2_000)]));
      const stream = session.request({ ...unaryHeaders, ...big });
      const outcome = await Promise.race([
        once(stream, "response").then(([headers]) => headers[":status"]),
        once(stream, "close").catch(() => "error"),
        new Promise((resolve) => stream.once("error", () => resolve("error"))),
      ]);
      expect(outcome).not.toBe(200);
      session.destroy();
    }
    await expectService();
  });

  test("frames that promise more than they bring, or more than is allowed", async () => {
    for (const session of await openSessions()) {
      for (const head of [
        [0, 0, 0, 0, 100],
        [0, 0xff, 0xff, 0xff, 0xff],
        [9, 0, 0, 0, 1],
      ]) {
        const stream = session.request(unaryHeaders);
        stream.on("error", () => {}).resume();
        const trailers = Promise.race([
          once(stream, "trailers").then(([all]) => all["grpc-status"]),
          once(stream, "response").then(([all]) => all["grpc-status"] ?? new Promise(() => {})),
          once(stream, "close").then(() => "closed"),
        ]);
        stream.end(Buffer.from([...head, 10]));
        expect(["0", "2"]).not.toContain(await trailers);
      }
      session.destroy();
    }
    await expectService();
  });

  test("many connections that say nothing", async () => {
    const before = process.memoryUsage().rss;
    const port = Number(new URL(running.url).port);
    const sockets = Array.from({ length: 2_000 }, () => connectTcp(port, "127.0.0.1").on("error", () => {}));
    await Promise.all(sockets.map((socket) => once(socket, "connect")));
    await expectService();
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * MIB);
    for (const socket of sockets) socket.destroy();
  });
});
