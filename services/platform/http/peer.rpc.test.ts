import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { peerAddressOf } from "#platform/rpc/caller.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { startTestService } from "#platform/testing/test-service.ts";

const tellPeer = implementPartly(AuthService, {
  login: (_request, context) => ({ user: { username: peerAddressOf(context).host } }),
});
const headers = { "x-forwarded-for": "198.51.100.1, 203.0.113.7" };

test.each(["1.1", "2"] as const)("the caller's address over HTTP/%s", async (httpVersion) => {
  for (const [trustedProxyCount, host] of [
    [0, "127.0.0.1"],
    [1, "203.0.113.7"],
  ] as const) {
    await using running = await startTestService({ services: [tellPeer], trustedProxyCount });
    const client = createClient(AuthService, createConnectTransport({ baseUrl: running.url, httpVersion }));
    expect((await client.login({}, { headers })).user?.username).toBe(host);
  }
});
