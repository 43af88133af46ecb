import { afterAll, beforeAll, expect, test } from "vitest";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { failureOf, reasonOf } from "#platform/testing/grpc-client.ts";
import { createTestNetwork, type TestNetwork, type TestRegistry } from "../testing/test-registry.ts";

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

const { renewCertificate } = NodeService.method;

test("a node that renews without end is told to wait, and takes no changes of the directory from others", async () => {
  const [greedy, other] = [await registry.enroll(), await registry.enroll()];
  using client = greedy.connect();
  using others = other.connect();
  const { csrPem } = greedy.identity;
  const renewals = Array.from({ length: 60 }, () => client.unary(renewCertificate, { csrPem }));
  const results = await Promise.allSettled(renewals);
  const served = results.filter(({ status }) => status === "fulfilled").length;
  expect(served).toBeGreaterThanOrEqual(20);
  expect(served).toBeLessThan(60);
  const refused = results.findIndex(({ status }) => status === "rejected");
  expect(reasonOf(await failureOf(renewals[refused] ?? Promise.resolve()))).toBe("OVERLOADED");
  await others.unary(renewCertificate, { csrPem: other.identity.csrPem });
});
