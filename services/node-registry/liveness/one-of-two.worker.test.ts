import { test } from "vitest";
import {
  expectAllOnline,
  expectAnswersAgain,
  expectNeverOffline,
  leasesPass,
  scaledEnv,
  startNodes,
  warm,
} from "../testing/liveness-fixture.ts";
import { serveKeySet, startRegistryProcess } from "../testing/registry-process.ts";
import { createTestNetwork } from "../testing/test-registry.ts";

// Longer than elsewhere: the nodes must notice, and find the other process, within a lease and its protection.
const leaseMs = 10_000;
const env = { ...scaledEnv, NODE_LEASE_TTL: `${leaseMs}ms` };

test("one of two registries standing still calls nobody offline, and its nodes move to the other", async () => {
  await using network = await createTestNetwork();
  await using stack = new AsyncDisposableStack();
  const auth = stack.use(await serveKeySet(network.issuer));
  const stopped = stack.use(await startRegistryProcess(network, auth.url, env));
  const healthy = stack.use(await startRegistryProcess(network, auth.url, env));
  const nodes = await startNodes(stack, healthy, 4, [stopped.edgeAddress, healthy.edgeAddress]);
  await warm(network.db);
  stopped.pause();
  await expectAnswersAgain(nodes);
  stopped.resume();
  await leasesPass(1, leaseMs);
  await expectNeverOffline(network, nodes);
  await expectAllOnline(healthy, 4);
}, 120_000);
