import { randomBytes, randomUUID } from "node:crypto";
import { type Client, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import type { ClientOptions } from "@grpc/grpc-js";
import { EnrollmentService } from "#gen/decentrastore/node_registry/v1/enrollment_service_pb.ts";
import { NodeDirectoryService } from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { createTestGrpcClient, type TestGrpcClient } from "#platform/testing/grpc-client.ts";
import { createTestDatabase, createTestLogger, type TestDatabase } from "#platform/testing/test-database.ts";
import { createTestIssuer, type TestIssuer } from "#platform/testing/test-issuer.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { loadNodeRegistryConfig } from "../config.ts";
import { type NodeRegistryParts, startNodeRegistry } from "../service.ts";
import { createTestIdentity, type TestIdentity } from "./test-identity.ts";

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

export interface EnrollOverrides {
  readonly joinToken?: string;
  readonly csrPem?: string;
  readonly address?: { readonly host: string; readonly port: number };
  readonly capacityGb?: number;
  readonly softwareVersion?: string;
  readonly region?: string;
}

export interface TestNode {
  readonly identity: TestIdentity;
  readonly nodeId: string;
  readonly certificate: string;
  readonly ca: string;
  /** A client with this node's certificate; to this registry unless another's edge address is given. */
  connect(address?: string, options?: ClientOptions): TestGrpcClient;
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

export function testRegistryEnv(network: TestNetwork): Record<string, string> {
  return {
    PORT: "0",
    OPS_PORT: "0",
    NODE_EDGE_PORT: "0",
    DATABASE_URL: network.db.url("node_registry_app"),
    NODE_REGISTRY_DATABASE_URL: network.db.url("node_registry_app"),
    DATABASE_POOL_SIZE: "4",
    NATS_URL: network.nats.url("node-registry"),
    SERVICE_CLIENT_ID: "node-registry",
    SERVICE_CLIENT_SECRET: "unused",
    KEY_ENCRYPTION_KEY: network.encryptionKey,
    NODE_ALLOW_PRIVATE_ADDRESSES: "true",
  };
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

/** Clients of a registry that runs somewhere, with an admin's token. */
export async function registryClients(url: string, edgeAddress: string, issuer: TestIssuer) {
  const authorization = await issuer.user(randomUUID(), { isAdmin: true });
  const transport = createConnectTransport({
    baseUrl: url,
    httpVersion: "1.1",
    interceptors: [
      (next) => (request) => {
        request.header.set("Authorization", authorization);
        return next(request);
      },
    ],
  });
  const enrollment = createClient(EnrollmentService, transport);
  const directory = createClient(NodeDirectoryService, transport);
  const joinToken = async () => (await enrollment.createJoinToken({ maxUses: 0 })).joinToken;
  return {
    url,
    edgeAddress,
    enrollment,
    directory,
    joinToken,
    enroll: async (overrides: EnrollOverrides = {}): Promise<TestNode> => {
      const identity = await createTestIdentity();
      const answer = await enrollment.enrollNode({
        joinToken: overrides.joinToken ?? (await joinToken()),
        csrPem: identity.csrPem,
        address: { host: "127.0.0.1", port: 4_000 },
        capacityGb: 100,
        softwareVersion: "test/1",
        ...overrides,
      });
      return nodeOf(identity, answer.certificatePem, answer.caCertificatePem, edgeAddress);
    },
  };
}

export function nodeOf(identity: TestIdentity, certificate: string, ca: string, edgeAddress: string): TestNode {
  const { nodeId, privateKey } = identity;
  return {
    identity,
    nodeId,
    certificate,
    ca,
    connect: (address = edgeAddress, options = {}) =>
      createTestGrpcClient(address, { ca, node: { certificate, privateKey, nodeId } }, options),
  };
}

/** Plain figures of a heartbeat, for a stream as well as a unary call. */
export function beat(sequence: number, figures: BeatInit = {}): BeatInit & { readonly sequence: bigint } {
  return { sequence: BigInt(sequence), usedBytes: 10n, freeBytes: 1_000n, chunkCount: 1n, ...figures };
}

export interface BeatInit {
  readonly usedBytes?: bigint;
  readonly freeBytes?: bigint;
  readonly chunkCount?: bigint;
  readonly address?: { readonly host: string; readonly port: number };
  readonly softwareVersion?: string;
  readonly chunkDigest?: Uint8Array;
}

export const { heartbeat } = NodeService.method;
