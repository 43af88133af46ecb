import { expect, test, vi } from "vitest";
import { z } from "zod";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { sql } from "#platform/postgres/sql.ts";
import { createTestGrpcClient, failureOf } from "#platform/testing/grpc-client.ts";
import { createTestLogger } from "#platform/testing/test-database.ts";
import { systemClock } from "#platform/time/clock.ts";
import { openBeats } from "../testing/beat-stream.ts";
import { beat, createTestNetwork, heartbeat, type TestNetwork } from "../testing/test-registry.ts";
import { announceAuthority } from "./rotation.worker.ts";

/** For how long both held. */
async function overlapOf(network: TestNetwork): Promise<number> {
  const pool = await network.db.pool("node_registry");
  return pool.oneFirst(sql.type(z.strictObject({ ms: z.number() }))`
    select extract(epoch from max(state_since) - min(state_since))::float8 * 1000 as ms
    from node_registry.certificate_authorities`);
}

async function statesOf(network: TestNetwork): Promise<string[]> {
  const pool = await network.db.pool("node_registry");
  const rows = await pool.any(sql.type(z.strictObject({ state: z.string() }))`
    select state from node_registry.certificate_authorities order by id`);
  return rows.map((row) => row.state);
}

test("the CA is replaced under running nodes: both hold, nodes renew, the old one is retired", async () => {
  await using network = await createTestNetwork();
  const overlapMs = 4_000;
  const parts = { rotation: { everyMs: 100, announceMs: 500, overlapMs }, authoritiesPollMs: 100 };
  await using registry = await network.registry({}, parts);
  const [node, sleeper] = [await registry.enroll(), await registry.enroll()];
  using client = node.connect();
  const stream = openBeats(client);
  await stream.exchange(beat(1));
  const pool = await network.db.pool("node_registry");
  const deps = {
    pool,
    clock: systemClock,
    log: createTestLogger(),
    encryptionKeys: [Buffer.from(network.encryptionKey, "base64")] as const,
  };
  expect(await announceAuthority({ ...deps, encryptionKeys: [deps.encryptionKeys[0]] })).toBe(true);
  await vi.waitFor(async () => expect(await statesOf(network)).toEqual(["retiring", "active"]), 60_000);

  // The stream goes on, old certificates still open new ones, and the node is asked to renew.
  await vi.waitFor(async () => {
    const answer = await stream.exchange(beat(2));
    expect(answer).toMatchObject({ commands: [{ command: { case: "renewCertificate" } }] });
  }, 60_000);
  using second = sleeper.connect();
  await second.unary(heartbeat, beat(1));
  const renewed = await client.unary(NodeService.method.renewCertificate, { csrPem: node.identity.csrPem });
  expect(renewed.caCertificatePem.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
  const { privateKey, nodeId } = node.identity;
  const identity = { certificate: renewed.certificatePem, privateKey, nodeId };
  const connect = () => createTestGrpcClient(registry.edgeAddress, { ca: renewed.caCertificatePem, node: identity });
  using fresh = connect();
  expect((await fresh.unary(heartbeat, beat(3))).commands).toEqual([]);
  const late = await registry.enroll();
  using lateClient = late.connect();
  await lateClient.unary(heartbeat, beat(1));

  // The sleeper never renews; once its certificate has run out nobody needs the old CA.
  await pool.query(sql.unsafe`
    update node_registry.storage_nodes set certificate_expires_at = now() where node_id = decode(${sleeper.nodeId}, 'hex')`);
  await vi.waitFor(async () => expect(await statesOf(network)).toEqual(["retired", "active"]), 60_000);
  expect(await overlapOf(network)).toBeGreaterThanOrEqual(overlapMs);
  await vi.waitFor(async () => {
    using refused = sleeper.connect();
    expect((await failureOf(refused.unary(heartbeat, beat(2), { deadlineMs: 10_000 }))).code).toBe(14);
  }, 60_000);
  await vi.waitFor(async () => {
    using again = connect();
    await again.unary(heartbeat, beat(4), { deadlineMs: 10_000 });
  }, 60_000);
  expect(await stream.exchange(beat(5))).toMatchObject({ commands: [] });
}, 120_000);
