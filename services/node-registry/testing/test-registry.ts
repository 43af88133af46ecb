import { randomBytes } from "node:crypto";
import type { Client } from "@connectrpc/connect";
import type { EnrollmentService } from "#gen/decentrastore/node_registry/v1/enrollment_service_pb.ts";
import type { NodeDirectoryService } from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { createTestDatabase, createTestLogger, type TestDatabase } from "#platform/testing/test-database.ts";
import { createTestIssuer, type TestIssuer } from "#platform/testing/test-issuer.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { loadNodeRegistryConfig } from "../config.ts";
import { type NodeRegistryParts, startNodeRegistry } from "../service.ts";
import { type EnrollOverrides, registryClients, type TestNode, testRegistryEnv } from "./registry-clients.ts";

export { beat, heartbeat } from "./registry-clients.ts";

/** A database, a broker and an issuer that several registry processes of a test share. */
export interface TestNetwork extends AsyncDisposable {
  readonly db: TestDatabase;
  readonly nats: TestNats;
  readonly issuer: TestIssuer;
  readonly encryptionKey: string;
  /** Starts a registry in this process, on free ports. */
  registry(env?: Readonly<Record<string, string>>, parts?: NodeRegistryParts): Promise<TestRegistry>;
}

export interface TestRegistry extends AsyncDisposable {
  readonly edgeAddress: string;
  readonly opsUrl: string;
  readonly url: string;
  /** Clients with an admin's token. */
  readonly enrollment: Client<typeof EnrollmentService>;
  readonly directory: Client<typeof NodeDirectoryService>;
  joinToken(): Promise<string>;
  enroll(overrides?: EnrollOverrides): Promise<TestNode>;
}

export async function createTestNetwork(): Promise<TestNetwork> {
  const [db, nats, issuer] = await Promise.all([createTestDatabase(), startTestNats(), createTestIssuer()]);
  const encryptionKey = randomBytes(32).toString("base64");
  const network: TestNetwork = {
    db,
    nats,
    issuer,
    encryptionKey,
    registry: (env = {}, parts = {}) => startTestRegistry(network, env, parts),
    [Symbol.asyncDispose]: async () => {
      await db[Symbol.asyncDispose]();
      await nats[Symbol.asyncDispose]();
    },
  };
  return network;
}

async function startTestRegistry(
  network: TestNetwork,
  env: Readonly<Record<string, string>>,
  parts: NodeRegistryParts,
): Promise<TestRegistry> {
  const config = loadNodeRegistryConfig({ ...testRegistryEnv(network), ...env });
  const running = await startNodeRegistry(config, new AbortController().signal, {
    log: createTestLogger("node-registry"),
    verifier: network.issuer.verifier,
    ...parts,
  });
  const { port, opsPort, nodeEdgePort } = running.addresses;
  const url = `http://127.0.0.1:${port}`;
  return {
    ...(await registryClients(url, `127.0.0.1:${nodeEdgePort}`, network.issuer)),
    opsUrl: `http://127.0.0.1:${opsPort}`,
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}
