import { createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { TokenService } from "#gen/decentrastore/auth/v1/token_service_pb.ts";
import { UserAdminService } from "#gen/decentrastore/auth/v1/user_admin_service_pb.ts";
import { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { NodeDirectoryService } from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import type { Addresses } from "../plane/plane.ts";

const TIMEOUT_MS = 4_000;
/** Tokens of users live for 5 minutes. */
const TOKEN_AGE_MS = 120_000;

export type TokenSource = () => Promise<string | undefined>;

export const noToken: TokenSource = async () => undefined;

export function transportWith(baseUrl: string, token: TokenSource): Transport {
  const bearer: Interceptor = (next) => async (request) => {
    const value = await token();
    if (value !== undefined) request.header.set("authorization", `Bearer ${value}`);
    return await next(request);
  };
  return createConnectTransport({
    baseUrl,
    httpVersion: "1.1",
    interceptors: [bearer],
    defaultTimeoutMs: TIMEOUT_MS,
  });
}

/** Keeps what `fetch` brings until it is old; a failure is the failure of the call that wanted it. */
export function keptToken(fetch: () => Promise<string>): TokenSource {
  let kept: { value: string; atMs: number } | undefined;
  return async () => {
    if (kept === undefined || performance.now() - kept.atMs > TOKEN_AGE_MS) {
      kept = { value: await fetch(), atMs: performance.now() };
    }
    return kept.value;
  };
}

export interface Credentials {
  readonly adminPassword: string;
  readonly clientSecret: string;
}

export type Clients = ReturnType<typeof createClients>;

/** What strangers, an upload gateway and an admin hold. */
export function createClients({ authUrl, userQuotaUrl, nodeRegistryUrl }: Addresses, credentials: Credentials) {
  const auth = createClient(AuthService, transportWith(authUrl, noToken));
  const tokens = createClient(TokenService, transportWith(authUrl, noToken));
  const gatewayToken = keptToken(async () => {
    const client = { clientId: "dev", clientSecret: credentials.clientSecret };
    return (await tokens.issueServiceToken(client)).accessToken;
  });
  const adminToken = keptToken(async () => {
    const answer = await auth.login({ username: "admin", password: credentials.adminPassword });
    return answer.tokens?.accessToken ?? "";
  });
  return {
    auth,
    authAs: (token: TokenSource) => createClient(AuthService, transportWith(authUrl, token)),
    chunks: createClient(ChunkService, transportWith(nodeRegistryUrl, gatewayToken)),
    quotas: createClient(UserQuotaService, transportWith(userQuotaUrl, gatewayToken)),
    quotasAs: (token: TokenSource) => createClient(UserQuotaService, transportWith(userQuotaUrl, token)),
    quotaAdmin: createClient(UserQuotaService, transportWith(userQuotaUrl, adminToken)),
    userAdmin: createClient(UserAdminService, transportWith(authUrl, adminToken)),
    directory: createClient(NodeDirectoryService, transportWith(nodeRegistryUrl, adminToken)),
  };
}
