import { createHash, X509Certificate } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { sql, textArray } from "#platform/postgres/sql.ts";
import { createTestGrpcClient, failureOf, reasonOf } from "#platform/testing/grpc-client.ts";
import { createTestCa } from "#platform/testing/test-ca.ts";
import { eventsOf } from "../testing/stored-events.ts";
import { createTestIdentity } from "../testing/test-identity.ts";
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

async function requestOf(joinToken: string, identity = createTestIdentity()) {
  return {
    joinToken,
    csrPem: (await identity).csrPem,
    address: { host: "127.0.0.1", port: 4_000 },
    capacityGb: 100,
    softwareVersion: "test/1",
  };
}

async function refusalOf(call: Promise<unknown>): Promise<ConnectError> {
  return call.then(
    () => {
      throw new Error("the call did not fail");
    },
    (error: unknown) => ConnectError.from(error),
  );
}

async function countNodes(): Promise<number> {
  const pool = await network.db.pool("node_registry");
  return (await pool.query(sql.unsafe`select 1 from node_registry.storage_nodes`)).rowCount;
}

test("a join token names the CA that the node gets, and the certificate names the node", async () => {
  const token = await registry.enrollment.createJoinToken({ maxUses: 1, ttl: { seconds: 60n, nanos: 0 } });
  expect(token.joinToken.startsWith(`${token.joinTokenId}.`)).toBe(true);
  const identity = await createTestIdentity();
  const answer = await registry.enrollment.enrollNode(await requestOf(token.joinToken, Promise.resolve(identity)));
  const ca = new X509Certificate(answer.caCertificatePem);
  const spki = ca.publicKey.export({ type: "spki", format: "der" });
  expect(token.joinToken.split(".")[2]).toBe(createHash("sha256").update(spki).digest("hex").slice(0, 32));
  const certificate = new X509Certificate(answer.certificatePem);
  expect(certificate.verify(ca.publicKey)).toBe(true);
  expect(certificate.subject).toBe(`CN=${identity.nodeId}`);
  expect(answer.node?.nodeId).toBe(identity.nodeId);
  expect([answer.heartbeatInterval?.seconds, answer.leaseTtl?.seconds]).toEqual([15n, 60n]);
  expect((await eventsOf(network.db, identity.nodeId)).map((event) => event.word)).toEqual(["registered"]);
});

test("a token admits as many nodes as it says, also when all come at once", async () => {
  const { joinToken, joinTokenId } = await registry.enrollment.createJoinToken({ maxUses: 3 });
  const before = await countNodes();
  const results = await Promise.allSettled(
    Array.from({ length: 8 }, async () => registry.enrollment.enrollNode(await requestOf(joinToken))),
  );
  expect(results.filter((result) => result.status === "fulfilled")).toHaveLength(3);
  expect(await countNodes()).toBe(before + 3);
  expect((await registry.enrollment.revokeJoinToken({ joinTokenId })).uses).toBe(3);
});

test("one key enrolled eight times at once is one node", async () => {
  const joinToken = await registry.joinToken();
  const identity = createTestIdentity();
  const before = await countNodes();
  const answers = await Promise.all(
    Array.from({ length: 8 }, async () => registry.enrollment.enrollNode(await requestOf(joinToken, identity))),
  );
  expect(new Set(answers.map((answer) => answer.node?.nodeId))).toEqual(new Set([(await identity).nodeId]));
  expect(await countNodes()).toBe(before + 1);
  expect((await eventsOf(network.db, (await identity).nodeId)).map((event) => event.word)).toEqual(["registered"]);
});

test("a crowd shares transactions, and each gets what it deserves", async () => {
  const [unlimited, limited] = [
    await registry.joinToken(),
    (await registry.enrollment.createJoinToken({ maxUses: 5 })).joinToken,
  ];
  const known = createTestIdentity();
  const outlaw = createTestIdentity();
  for (const identity of [known, outlaw]) await registry.enrollment.enrollNode(await requestOf(unlimited, identity));
  const { nodeId } = await outlaw;
  await registry.directory.setNodeState({ nodeId, state: NodeState.DISQUALIFIED, reason: "for a test" });
  const newcomers = await Promise.all(Array.from({ length: 50 }, () => createTestIdentity()));
  const crowd = [
    ...newcomers.map((identity) => requestOf(unlimited, Promise.resolve(identity))),
    ...Array.from({ length: 10 }, () => requestOf(limited)),
    ...[known, outlaw, known].map((identity) => requestOf(unlimited, identity)),
  ];
  const requests = await Promise.all(crowd);
  const answers = await Promise.allSettled(requests.map((request) => registry.enrollment.enrollNode(request)));
  const outcomes = answers.map((answer) =>
    answer.status === "fulfilled" ? "enrolled" : ConnectError.from(answer.reason).rawMessage,
  );
  expect(outcomes.slice(0, 50)).toEqual(Array(50).fill("enrolled"));
  expect(outcomes.slice(50, 60).filter((outcome) => outcome === "enrolled")).toHaveLength(5);
  expect(outcomes.slice(60)).toEqual(["enrolled", expect.stringContaining("disqualified"), "enrolled"]);
  for (const [index, identity] of newcomers.entries()) {
    const answer = answers[index];
    expect(answer?.status === "fulfilled" && answer.value.node?.nodeId).toBe(identity.nodeId);
  }
  const pool = await network.db.pool("node_registry");
  const { transactions } = await pool.one(sql.type(z.strictObject({ transactions: z.int() }))`
    select count(distinct xmin::text)::int as transactions from node_registry.storage_nodes
    where encode(node_id, 'hex') = any(${textArray(newcomers.map((identity) => identity.nodeId))})`);
  expect(transactions).toBeLessThan(40);
});

test("two registries that get the same keys at the same moment make each of them one node", async () => {
  await using other = await network.registry();
  const joinToken = await registry.joinToken();
  const keys = await Promise.all(Array.from({ length: 20 }, () => createTestIdentity()));
  const answers = await Promise.all(
    [registry, other, registry, other].flatMap((one, turn) =>
      (turn % 2 === 0 ? keys : keys.toReversed()).map(async (identity) => {
        const { node } = await one.enrollment.enrollNode(await requestOf(joinToken, Promise.resolve(identity)));
        return node?.nodeId === identity.nodeId;
      }),
    ),
  );
  expect(answers).toEqual(Array(80).fill(true));
  for (const { nodeId } of keys) {
    expect((await eventsOf(network.db, nodeId)).map((event) => event.word)).toEqual(["registered"]);
  }
});

test("unknown, malformed, expired, revoked and foreign tokens are all alike, and leave nothing behind", async () => {
  const good = await registry.joinToken();
  const revoked = await registry.enrollment.createJoinToken({ maxUses: 1 });
  await registry.enrollment.revokeJoinToken({ joinTokenId: revoked.joinTokenId });
  const expired = await registry.enrollment.createJoinToken({ maxUses: 1 });
  const pool = await network.db.pool("node_registry");
  await pool.query(sql.unsafe`
    update node_registry.join_tokens set expires_at = now() - interval '1 second' where join_token_id = ${expired.joinTokenId}`);
  const [id = "", secret = "", pin = ""] = good.split(".");
  const before = await countNodes();
  const bad = ["", "x", `${id}.${secret}`, `${id}.${"A".repeat(43)}.${pin}`, `${"0".repeat(18)}.${secret}.${pin}`];
  for (const joinToken of [...bad, revoked.joinToken, expired.joinToken]) {
    const refusal = await refusalOf(registry.enrollment.enrollNode(await requestOf(joinToken)));
    expect([refusal.code, refusal.rawMessage]).toEqual([Code.PermissionDenied, "the join token cannot be used"]);
  }
  expect(await countNodes()).toBe(before);
  const unknown = await refusalOf(registry.enrollment.revokeJoinToken({ joinTokenId: "no-such" }));
  expect(unknown.code).toBe(Code.NotFound);
});

test.each([
  ["capacity_gb", { capacityGb: 0 }],
  ["capacity_gb", { capacityGb: -1 }],
  ["capacity_gb", { capacityGb: 2_000_000_000 }],
  ["software_version", { softwareVersion: "" }],
  ["software_version", { softwareVersion: "v".repeat(65) }],
  ["software_version", { softwareVersion: "\u202egpj.exe" }],
  ["region", { region: "r".repeat(65) }],
  ["region", { region: "north\nsouth" }],
  ["address.host", { address: { host: "no host", port: 1 } }],
  ["address.port", { address: { host: "127.0.0.1", port: 70_000 } }],
  ["csr_pem", { csrPem: "" }],
  ["csr_pem", { csrPem: "garbage" }],
  ["csr_pem", { csrPem: "x".repeat(20_000) }],
])("a bad %s is refused by its name", async (field, overrides) => {
  const refusal = await refusalOf(
    registry.enrollment.enrollNode({ ...(await requestOf(await registry.joinToken())), ...overrides }),
  );
  expect(refusal.code).toBe(Code.InvalidArgument);
  expect(refusal.rawMessage).toContain(field);
});

test("tokens have bounds, and only admins make them", async () => {
  for (const ttl of [
    { seconds: 0n, nanos: 1 },
    { seconds: 366n * 86_400n, nanos: 0 },
  ]) {
    expect((await refusalOf(registry.enrollment.createJoinToken({ ttl }))).code).toBe(Code.InvalidArgument);
  }
  expect((await refusalOf(registry.enrollment.createJoinToken({ maxUses: -1 }))).code).toBe(Code.InvalidArgument);
  const authorization = await network.issuer.user("0190a1b2-0000-7000-8000-000000000001");
  const answers = await Promise.all(
    [{}, { authorization }].map((headers) =>
      fetch(`${registry.url}/decentrastore.node_registry.v1.EnrollmentService/CreateJoinToken`, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: "{}",
      }),
    ),
  );
  expect(answers.map((answer) => answer.status)).toEqual([401, 403]);
});

test("a renewed certificate works at once, for the same key only", async () => {
  const node = await registry.enroll();
  using client = node.connect();
  const renewed = await client.unary(NodeService.method.renewCertificate, { csrPem: node.identity.csrPem });
  expect(renewed.certificatePem).not.toBe(node.certificate);
  const { privateKey, nodeId } = node.identity;
  using again = createTestGrpcClient(registry.edgeAddress, {
    ca: renewed.caCertificatePem,
    node: { certificate: renewed.certificatePem, privateKey, nodeId },
  });
  await again.unary(heartbeat, beat(1));
  await client.unary(heartbeat, beat(2));
  const other = await createTestIdentity();
  const failure = await failureOf(client.unary(NodeService.method.renewCertificate, { csrPem: other.csrPem }));
  expect([reasonOf(failure), failure.details]).toEqual([
    "INVALID_FIELD",
    expect.stringContaining("certificate in use"),
  ]);
});

test("a certificate near its end is asked to be renewed until it is", async () => {
  await using brief = await network.registry({ NODE_CERTIFICATE_TTL: "90s" });
  const node = await brief.enroll();
  const pool = await network.db.pool("node_registry");
  await pool.query(sql.unsafe`
    update node_registry.storage_nodes set certificate_expires_at = now() + interval '20 seconds'
    where node_id = decode(${node.nodeId}, 'hex')`);
  await using late = await network.registry({ NODE_CERTIFICATE_TTL: "90s" });
  using client = node.connect(late.edgeAddress);
  const first = await client.unary(heartbeat, beat(1));
  const second = await client.unary(heartbeat, beat(2));
  expect(first.commands.map((command) => command.command.case)).toEqual(["renewCertificate"]);
  expect(second.commands[0]?.commandId).toBe(first.commands[0]?.commandId);
  await client.unary(NodeService.method.renewCertificate, { csrPem: node.identity.csrPem });
  expect((await client.unary(heartbeat, beat(3))).commands).toEqual([]);
});

test("no certificate, one of another CA, and one of no node are refused", async () => {
  const foreign = await createTestCa();
  const node = await registry.enroll();
  using without = createTestGrpcClient(registry.edgeAddress, { ca: node.ca });
  using stranger = createTestGrpcClient(registry.edgeAddress, { ca: node.ca, node: await foreign.node() });
  for (const client of [without, stranger]) {
    expect((await failureOf(client.unary(heartbeat, beat(1), { deadlineMs: 30_000 }))).code).toBe(14);
  }
});
