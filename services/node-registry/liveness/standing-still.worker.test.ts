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

test("a registry that stands still for one and a half leases calls nobody offline", async () => {
  await using network = await createTestNetwork();
  await using stack = new AsyncDisposableStack();
  const auth = stack.use(await serveKeySet(network.issuer));
  const registry = stack.use(await startRegistryProcess(network, auth.url, scaledEnv));
  const nodes = await startNodes(stack, registry, 3);
  await warm(network.db);
  registry.pause();
  await leasesPass(1.5);
  registry.resume();
  await expectAnswersAgain(nodes);
  await leasesPass(1);
  await expectNeverOffline(network, nodes);
  await expectAllOnline(registry, 3);
}, 120_000);
