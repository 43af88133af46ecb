import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import type { TestGrpcClient } from "#platform/testing/grpc-client.ts";
import { createTestLogger } from "#platform/testing/test-database.ts";
import { systemClock } from "#platform/time/clock.ts";
import { openAuthorities } from "../enrollment/authorities.worker.ts";
import { issueNodeCertificate } from "../enrollment/certificates.ts";
import { checkedCertificateRequest } from "../enrollment/checked-certificate-request.ts";
import { openBeats } from "../testing/beat-stream.ts";
import { nodeOf } from "../testing/registry-clients.ts";
import { beat, createTestNetwork, heartbeat, type TestNetwork, type TestRegistry } from "../testing/test-registry.ts";

let network: TestNetwork;
let registry: TestRegistry;
beforeAll(async () => {
  network = await createTestNetwork();
  registry = await network.registry();
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await network[Symbol.asyncDispose]();
});

/** The node with another certificate of the network's authority. */
async function withCertificateFor(node: Awaited<ReturnType<TestRegistry["enroll"]>>, ttlMs: number) {
  const pool = await network.db.pool("node_registry");
  const encryptionKeys = [Buffer.from(network.encryptionKey, "base64")] as const;
  const deps = { pool, clock: systemClock, log: createTestLogger(), encryptionKeys: [encryptionKeys[0]] } as const;
  const authorities = await openAuthorities(deps);
  const csr = await checkedCertificateRequest(node.identity.csrPem);
  const issued = issueNodeCertificate(authorities.issuing(), csr, { from: systemClock.now(), ttlMs });
  return nodeOf(node.identity, issued.certificatePem, node.ca, registry.edgeAddress);
}

test("a stream does not outlive the certificate that opened it", async () => {
  const node = await registry.enroll();
  const brief = await withCertificateFor(node, 10_000);
  using client = brief.connect();
  const stream = openBeats(client);
  expect(await stream.exchange(beat(1))).toHaveProperty("state");
  await expect
    .poll(() => stream.exchange(beat(2)), { timeout: 60_000, interval: 200 })
    .toMatchObject({ code: status.UNAUTHENTICATED, reason: "NODE_CERTIFICATE_INVALID" });
  using again = node.connect();
  await again.unary(heartbeat, beat(3));
}, 90_000);

const commandsOf = async (client: TestGrpcClient) =>
  (await client.unary(heartbeat, beat(1))).commands.map((command) => command.command.case);

test("a node that comes back without the certificate it was last given is asked to renew, once a connection", async () => {
  const node = await registry.enroll();
  const older = await withCertificateFor(node, 3_600_000);
  using before = older.connect();
  expect(await commandsOf(before)).toEqual(["renewCertificate"]);
  const renewed = await before.unary(NodeService.method.renewCertificate, { csrPem: node.identity.csrPem });
  expect(await commandsOf(before)).toEqual([]);
  using forgetful = older.connect();
  expect(await commandsOf(forgetful)).toEqual(["renewCertificate"]);
  await forgetful.unary(NodeService.method.renewCertificate, { csrPem: node.identity.csrPem });
  expect(await commandsOf(forgetful)).toEqual([]);
  const stream = openBeats(forgetful);
  expect(await stream.exchange(beat(2))).toMatchObject({ commands: [] });
  using good = nodeOf(node.identity, renewed.certificatePem, node.ca, registry.edgeAddress).connect();
  expect(renewed.certificatePem).not.toBe(node.certificate);
  await good.unary(heartbeat, beat(1));
});
