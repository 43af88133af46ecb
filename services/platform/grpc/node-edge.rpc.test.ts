import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp, createServer as createTcpServer, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { nodeIdOf, peerAddressOf } from "#platform/rpc/caller.ts";
import { RpcError } from "#platform/rpc/errors.ts";
import { createTestGrpcClient, failureOf, reasonOf } from "#platform/testing/grpc-client.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { createTestCa, type TestCertificate } from "#platform/testing/test-ca.ts";
import { startTestService } from "#platform/testing/test-service.ts";

const { heartbeat } = NodeService.method;

/** Answers with the node's id in a header, so that a test sees whom the server takes it for. */
const whoami = implementPartly(NodeService, {
  heartbeat: (_request, context) => {
    context.responseTrailer.set("node-id", nodeIdOf(context));
    return {};
  },
});

test("a node is known by its certificate, and its address by its socket", async () => {
  const seen: unknown[] = [];
  const service = implementPartly(NodeService, {
    heartbeat: (_request, context) => {
      seen.push(nodeIdOf(context), peerAddressOf(context).host, peerAddressOf(context).isEncrypted);
      return {};
    },
  });
  await using running = await startTestService({ edgeServices: [service] });
  const node = await running.ca.node();
  using client = createTestGrpcClient(running.edgeAddress, { ca: running.ca.certificate, node });
  await client.unary(heartbeat, { sequence: 1n });
  expect(seen).toEqual([node.nodeId, "127.0.0.1", true]);
});

test("TLS refuses clients without a certificate, with one of another CA, and with an expired one", async () => {
  await using running = await startTestService({ edgeServices: [whoami] });
  const stranger = await createTestCa("another CA");
  const ca = running.ca.certificate;
  const cases = [
    { ca },
    { ca, node: await stranger.node() },
    { ca, node: await running.ca.node({ validForMs: -1_000 }) },
  ];
  for (const tls of cases) {
    using client = createTestGrpcClient(running.edgeAddress, tls);
    const error = await failureOf(client.unary(heartbeat, {}, { deadlineMs: 30_000 }));
    expect(error.code).toBe(Code.Unavailable);
  }
  const metrics = await running.metrics.registry.getSingleMetricAsString("decentrastore_node_edge_refused_total");
  expect(metrics).not.toContain(" 0\n");
});

test("nothing but TLS with HTTP/2 is served", async () => {
  await using running = await startTestService({ edgeServices: [whoami] });
  const port = Number(running.edgeAddress.split(":")[1]);
  const plain = connectTcp(port, "127.0.0.1");
  plain.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  expect(await untilClosed(plain)).not.toContain("HTTP");
  const { certificate, privateKey } = await running.ca.node();
  const http1 = connectTls({
    port,
    host: "127.0.0.1",
    servername: "localhost",
    ca: running.ca.certificate,
    cert: certificate,
    key: privateKey,
    ALPNProtocols: ["http/1.1"],
  });
  expect(await untilClosed(http1)).toBe("");
});

test("a new CA is accepted beside the old one, and the old one refused once it is gone", async () => {
  await using running = await startTestService({ edgeServices: [whoami] });
  const next = await createTestCa("next CA");
  const [oldNode, newNode, server] = await Promise.all([running.ca.node(), next.node(), running.ca.server()]);
  const { certificate, privateKey } = server;
  using early = createTestGrpcClient(running.edgeAddress, { ca: running.ca.certificate, node: oldNode });
  await early.unary(heartbeat, {});

  running.running.setNodeEdgeCertificates({
    certificate,
    privateKey,
    clientCas: [running.ca.certificate, next.certificate],
  });
  using both = createTestGrpcClient(running.edgeAddress, { ca: running.ca.certificate, node: newNode });
  await both.unary(heartbeat, {});

  running.running.setNodeEdgeCertificates({ certificate, privateKey, clientCas: [next.certificate] });
  using late = createTestGrpcClient(running.edgeAddress, { ca: running.ca.certificate, node: oldNode });
  expect((await failureOf(late.unary(heartbeat, {}, { deadlineMs: 30_000 }))).code).toBe(Code.Unavailable);
  // A connection that is open lives on.
  await early.unary(heartbeat, {});
});

test("a port that another node uses after the first one carries no identity over", async () => {
  const seen: string[] = [];
  const service = implementPartly(NodeService, {
    heartbeat: (_request, context) => {
      seen.push(`${nodeIdOf(context)} ${peerAddressOf(context).port}`);
      return {};
    },
  });
  await using running = await startTestService({ edgeServices: [service] });
  const [first, second] = await Promise.all([running.ca.node(), running.ca.node()]);
  await using proxy = await startPortReusingProxy(Number(running.edgeAddress.split(":")[1]));
  for (const node of [first, second]) {
    using client = createTestGrpcClient(`127.0.0.1:${proxy.port}`, { ca: running.ca.certificate, node });
    await client.unary(heartbeat, {});
    client[Symbol.dispose]();
    await proxy.idle();
  }
  expect(seen).toEqual([`${first.nodeId} ${proxy.localPort}`, `${second.nodeId} ${proxy.localPort}`]);
});

test("a node may not hold more connections than its share: its oldest one goes", async () => {
  await using running = await startTestService({
    edgeServices: [whoami],
    edge: { limits: { maxConnectionsPerNode: 2 } },
  });
  const node = await running.ca.node();
  const open = () => connectTls({ ...tlsTo(running.edgeAddress, running.ca.certificate, node), ALPNProtocols: ["h2"] });
  const oldest = open();
  await once(oldest, "secureConnect");
  for (let i = 0; i < 2; i++) await once(open(), "secureConnect");
  await once(oldest.resume(), "close");
});

test("a certificate that expires while its connection is open is refused from then on", async () => {
  await using running = await startTestService({ edgeServices: [whoami] });
  const node = await running.ca.node({ validForMs: 2_500 });
  using client = createTestGrpcClient(running.edgeAddress, { ca: running.ca.certificate, node });
  await client.unary(heartbeat, {});
  const reason = () => client.unary(heartbeat, {}).then(() => "admitted", reasonOf);
  await expect.poll(reason, { timeout: 20_000, interval: 200 }).toBe("NODE_CERTIFICATE_INVALID");
});

test("the registry can turn a node away that has a good certificate", async () => {
  const admit = () => {
    throw new RpcError({ code: Code.PermissionDenied, reason: "NODE_DISQUALIFIED", message: "disqualified" });
  };
  await using running = await startTestService({ edgeServices: [whoami], edge: { admit } });
  const node = await running.ca.node();
  using client = createTestGrpcClient(running.edgeAddress, { ca: running.ca.certificate, node });
  const error = await failureOf(client.unary(heartbeat, {}));
  expect([error.code, reasonOf(error)]).toEqual([Code.PermissionDenied, "NODE_DISQUALIFIED"]);
});

test("RPCs for other callers are refused on the node edge", async () => {
  const quota = implementPartly(UserQuotaService, { getQuota: () => ({}) });
  await using running = await startTestService({ edgeServices: [quota] });
  const node = await running.ca.node();
  using client = createTestGrpcClient(running.edgeAddress, { ca: running.ca.certificate, node });
  const error = await failureOf(client.unary(UserQuotaService.method.getQuota, { userId: randomUUID() }));
  expect([error.code, reasonOf(error)]).toEqual([Code.PermissionDenied, "ACCESS_DENIED"]);
});

function tlsTo(address: string, ca: string, node: TestCertificate) {
  const [host = "", port] = address.split(":");
  return { host, port: Number(port), servername: "localhost", ca, cert: node.certificate, key: node.privateKey };
}

/** Everything that the peer sends before it closes. */
async function untilClosed(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk)).on("error", () => {});
  await new Promise((resolve) => socket.once("close", resolve));
  return Buffer.concat(chunks).toString("latin1");
}

/** Forwards one connection at a time, always from the same local port. */
async function startPortReusingProxy(targetPort: number) {
  const localPort = await freePort();
  let idle = Promise.resolve();
  const server = createTcpServer((client) => {
    const target = connectTcp({ port: targetPort, host: "127.0.0.1", localPort, localAddress: "127.0.0.1" });
    client.pipe(target).pipe(client);
    client.on("error", () => {});
    target.on("error", () => {});
    const { promise, resolve } = Promise.withResolvers<void>();
    idle = promise;
    // A reset leaves no TIME_WAIT, which would keep the port for a minute.
    client.once("close", () => target.resetAndDestroy());
    target.once("close", () => resolve());
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return {
    port: portOf(server),
    localPort,
    idle: () => idle,
    [Symbol.asyncDispose]: async () => {
      server.close();
    },
  };
}

async function freePort(): Promise<number> {
  const server = createTcpServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const port = portOf(server);
  server.close();
  await once(server, "close");
  return port;
}

function portOf(server: ReturnType<typeof createTcpServer>): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no TCP address");
  return address.port;
}
