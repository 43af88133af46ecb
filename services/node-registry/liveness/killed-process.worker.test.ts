import { test } from "vitest";
import {
  expectAnswersAgain,
  expectNeverOffline,
  leasesPass,
  scaledEnv,
  startNodes,
  warm,
} from "../testing/liveness-fixture.ts";
import { serveKeySet, startRegistryProcess } from "../testing/registry-process.ts";
import { createTestNetwork } from "../testing/test-registry.ts";

test("a registry that is killed and restarted calls nobody offline", async () => {
  await using network = await createTestNetwork();
  await using stack = new AsyncDisposableStack();
  const auth = stack.use(await serveKeySet(network.issuer));
  const first = await startRegistryProcess(network, auth.url, scaledEnv);
  const nodes = await startNodes(stack, first, 3);
  await warm(network.db);
  await first.kill();
  await leasesPass(1.2);
  const second = stack.use(await startRegistryProcess(network, auth.url, scaledEnv));
  for (const node of nodes) node.moveTo([second.edgeAddress]);
  await expectAnswersAgain(nodes);
  await leasesPass(1);
  await expectNeverOffline(network, nodes);
}, 120_000);
