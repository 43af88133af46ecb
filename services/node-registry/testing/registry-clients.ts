import { randomUUID } from "node:crypto";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import type { ClientOptions } from "@grpc/grpc-js";
import { EnrollmentService } from "#gen/decentrastore/node_registry/v1/enrollment_service_pb.ts";
import { NodeDirectoryService } from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { createTestGrpcClient, type TestGrpcClient } from "#platform/testing/grpc-client.ts";
import type { TestIssuer } from "#platform/testing/test-issuer.ts";
import { createTestIdentity, type TestIdentity } from "./test-identity.ts";

/** What a registry needs around it. */
export interface Surroundings {
  readonly db: { url(role: "node_registry_app"): string };
  readonly nats: { url(user: string): string };
  readonly issuer: TestIssuer;
  readonly encryptionKey: string;
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

export function testRegistryEnv(network: Surroundings): Record<string, string> {
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
