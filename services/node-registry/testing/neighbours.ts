import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { createServer as createHttp2Server, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { TokenService } from "#gen/decentrastore/auth/v1/token_service_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { TestIssuer } from "#platform/testing/test-issuer.ts";
import { systemClock } from "#platform/time/clock.ts";
import type { QuotaStub } from "./quota-stub.ts";

/** auth and user-quota on real ports, as far as a registry process calls them. */
export interface Neighbours extends AsyncDisposable {
  readonly authUrl: string;
  readonly quotaUrl: string;
}

export async function serveNeighbours(issuer: TestIssuer, quota: QuotaStub): Promise<Neighbours> {
  const tokens = connectNodeAdapter({
    routes: (router) => {
      router.service(TokenService, {
        issueServiceToken: async ({ clientId }) => ({
          accessToken: (await issuer.service(clientId, ["quota.reserve"])).replace("Bearer ", ""),
          accessTokenExpiresAt: toTimestamp(systemClock.now().add({ minutes: 5 })),
        }),
      });
    },
  });
  const keys: RequestListener = (request, response) => {
    if (request.method !== "GET") return tokens(request, response);
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ keys: issuer.jwks }));
  };
  const auth = createServer(keys);
  const userQuota = createHttp2Server(connectNodeAdapter({ routes: quota.routes }));
  const sessions = new Set<ServerHttp2Session>();
  userQuota.on("session", (session) => sessions.add(session));
  const ports = await Promise.all(
    [auth, userQuota].map(async (server) => {
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      return (server.address() as AddressInfo).port;
    }),
  );
  return {
    authUrl: `http://127.0.0.1:${ports[0]}`,
    quotaUrl: `http://127.0.0.1:${ports[1]}`,
    [Symbol.asyncDispose]: async () => {
      auth.closeAllConnections();
      auth.close();
      for (const session of sessions) session.destroy();
      userQuota.close();
    },
  };
}
