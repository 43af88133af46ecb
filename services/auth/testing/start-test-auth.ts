import { randomBytes } from "node:crypto";
import { type Client, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { TokenService } from "#gen/decentrastore/auth/v1/token_service_pb.ts";
import { UserAdminService } from "#gen/decentrastore/auth/v1/user_admin_service_pb.ts";
import { type Clock, systemClock } from "#platform/time/clock.ts";
import { loadAuthConfig } from "../config.ts";
import { startAuth } from "../service.ts";

/** The key of a test's service where it gives none. */
export const testKeyEncryptionKey = randomBytes(32).toString("base64");

export interface TestAuth extends AsyncDisposable {
  readonly url: string;
  readonly opsUrl: string;
  readonly auth: Client<typeof AuthService>;
  readonly tokens: Client<typeof TokenService>;
  readonly admin: Client<typeof UserAdminService>;
}

/** The whole service on free ports, as `main.ts` starts it, with hashes that are cheap and failures that do not wait. */
export async function startTestAuth(
  urls: { readonly databaseUrl: string; readonly natsUrl: string },
  env: Readonly<Record<string, string>> = {},
  clock: Clock = systemClock,
): Promise<TestAuth> {
  const config = loadAuthConfig({
    PORT: "0",
    OPS_PORT: "0",
    LOG_LEVEL: process.env.TEST_LOG_LEVEL ?? "silent",
    AUTH_DATABASE_URL: urls.databaseUrl,
    DATABASE_POOL_SIZE: "2",
    NATS_URL: urls.natsUrl,
    KEY_ENCRYPTION_KEY: testKeyEncryptionKey,
    ARGON2_MEMORY_KIB: "7168",
    ARGON2_PASSES: "1",
    LOGIN_FAILURE_STEP: "0",
    ...env,
  });
  const running = await startAuth(config, new AbortController().signal, clock);
  const url = `http://127.0.0.1:${running.addresses.port}`;
  const transport = createConnectTransport({ baseUrl: url, httpVersion: "2" });
  return {
    url,
    opsUrl: `http://127.0.0.1:${running.addresses.opsPort}`,
    auth: createClient(AuthService, transport),
    tokens: createClient(TokenService, transport),
    admin: createClient(UserAdminService, transport),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

export function bearer(accessToken: string | undefined): { readonly headers: Readonly<Record<string, string>> } {
  return { headers: { authorization: `Bearer ${accessToken}` } };
}
