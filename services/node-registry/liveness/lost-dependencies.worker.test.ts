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
import { startTcpProxy } from "../testing/tcp-proxy.ts";
import { createTestNetwork } from "../testing/test-registry.ts";

test("PostgreSQL away for a lease, and NATS away, take nobody offline", async () => {
  await using network = await createTestNetwork();
  await using stack = new AsyncDisposableStack();
  const direct = new URL(network.db.url("node_registry_app"));
  const proxy = stack.use(await startTcpProxy({ host: direct.hostname, port: Number(direct.port) }));
  const detour = new URL(direct);
  detour.port = String(proxy.port);
  const registry = stack.use(await network.registry({ ...scaledEnv, NODE_REGISTRY_DATABASE_URL: detour.href }));
  const nodes = await startNodes(stack, registry, 3);
  await warm(network.db);
  proxy.cut();
  await leasesPass(1);
  proxy.mend();
  await expectAnswersAgain(nodes);
  await network.nats.kill();
  await leasesPass(1);
  await expectAnswersAgain(nodes);
  await network.nats.start();
  await leasesPass(1.2);
  await expectNeverOffline(network, nodes);
  await expectAllOnline(registry, 3);
}, 120_000);
