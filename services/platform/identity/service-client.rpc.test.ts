import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { TokenService } from "#gen/decentrastore/auth/v1/token_service_pb.ts";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { serviceCallerOf } from "#platform/rpc/caller.ts";
import { passOn, RpcError } from "#platform/rpc/errors.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import { runDetached } from "#platform/rpc/trace.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { startTestService, type TestService } from "#platform/testing/test-service.ts";
import { createServiceClient } from "./service-client.ts";
import { createServiceTokenSource, type ServiceTokenSource } from "./service-token-source.ts";

// How long a condition may take to come true on a busy machine.
const PATIENCE = { timeout: 20_000 };

const userId = randomUUID();

function tokensOf(running: TestService, scopes: readonly string[]): ServiceTokenSource {
  return {
    token: async () => (await running.issuer.service("gateway", scopes)).replace("Bearer ", ""),
    invalidate: () => {},
  };
}

test("a call carries this service's token", async () => {
  const quota = implementPartly(UserQuotaService, {
    reserveStorage: (_request, context) => ({ reservation: { reservationId: serviceCallerOf(context).clientId } }),
  });
  await using running = await startTestService({ services: [quota] });
  const tokens = tokensOf(running, ["quota.reserve"]);
  using client = createServiceClient(UserQuotaService, { baseUrl: running.url, tokens, timeoutMs: 20_000 });
  expect((await client.reserveStorage({ userId })).reservation?.reservationId).toBe("gateway");
});

test("a refusal is passed on unchanged, our own lack of rights is not", async () => {
  const quota = implementPartly(UserQuotaService, {
    reserveStorage: () => {
      const metadata = { limit_bytes: "10" };
      throw new RpcError({ code: Code.ResourceExhausted, reason: "QUOTA_EXCEEDED", message: "full", metadata });
    },
  });
  await using behind = await startTestService({ services: [quota] });
  const tokens = tokensOf(behind, ["quota.reserve"]);
  using client = createServiceClient(UserQuotaService, { baseUrl: behind.url, tokens, timeoutMs: 20_000 });
  const front = implementPartly(AuthService, {
    login: async () => {
      await client.reserveStorage({ userId }).catch((error: unknown) => {
        throw passOn(error);
      });
      return {};
    },
    register: async () => {
      await client.getQuota({ userId }).catch((error: unknown) => {
        throw passOn(error);
      });
      return {};
    },
  });
  await using running = await startTestService({ services: [front] });
  const stranger = createClient(AuthService, createConnectTransport({ baseUrl: running.url, httpVersion: "1.1" }));
  const refusal = await failureOf(stranger.login({}));
  expect([refusal.code, refusal.rawMessage]).toEqual([Code.ResourceExhausted, "full"]);
  expect(refusal.findDetails(ErrorInfoSchema)).toMatchObject([
    { reason: "QUOTA_EXCEEDED", metadata: { limit_bytes: "10" } },
  ]);
  expect((await failureOf(stranger.register({}))).code).toBe(Code.Internal);
});

test("the deadline of the call it is made in is handed on, and detached work has its own", async () => {
  const seen: (number | undefined)[] = [];
  const quota = implementPartly(UserQuotaService, {
    getReservation: async (_request, context) => {
      seen.push(context.timeoutMs());
      return {};
    },
  });
  await using behind = await startTestService({ services: [quota] });
  const tokens = tokensOf(behind, ["quota.reserve"]);
  using client = createServiceClient(UserQuotaService, { baseUrl: behind.url, tokens, timeoutMs: 90_000 });
  const front = implementPartly(AuthService, {
    login: async () => {
      await client.getReservation({});
      await runDetached(() => client.getReservation({}));
      return {};
    },
  });
  await using running = await startTestService({ services: [front] });
  const stranger = createClient(AuthService, createConnectTransport({ baseUrl: running.url, httpVersion: "1.1" }));
  await stranger.login({}, { timeoutMs: 30_000 });
  expect(seen[0]).toBeLessThanOrEqual(30_000);
  expect(seen[1]).toBeGreaterThan(30_000);
});

test("a service that is away, or too late, is DEPENDENCY_UNAVAILABLE", async () => {
  const quota = implementPartly(UserQuotaService, {
    reserveStorage: async (_request, context) => {
      await delay(10_000, undefined, { signal: context.signal }).catch(() => {});
      return {};
    },
  });
  const running = await startTestService({ services: [quota], stopGraceMs: 100 });
  const tokens = tokensOf(running, ["quota.reserve"]);
  using client = createServiceClient(UserQuotaService, { baseUrl: running.url, tokens, timeoutMs: 150 });
  await expect(client.reserveStorage({ userId })).rejects.toMatchObject({ reason: "DEPENDENCY_UNAVAILABLE" });
  await running[Symbol.asyncDispose]();
  await expect(client.reserveStorage({ userId })).rejects.toMatchObject({ reason: "DEPENDENCY_UNAVAILABLE" });
});

test("only idempotent calls are repeated, and only a few times", async () => {
  let connections = 0;
  const server = createServer((socket: Socket) => {
    connections++;
    socket.on("error", () => {});
    // Takes the request and breaks the connection: nobody knows whether it arrived.
    socket.once("data", () => socket.resetAndDestroy());
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no TCP address");
  const tokens = { token: async () => "t", invalidate: () => {} };
  const baseUrl = `http://127.0.0.1:${address.port}`;
  using client = createServiceClient(UserQuotaService, {
    baseUrl,
    tokens,
    timeoutMs: 20_000,
    idempotent: ["releaseReservation"],
  });
  await expect(client.reserveStorage({ userId })).rejects.toMatchObject({ reason: "DEPENDENCY_UNAVAILABLE" });
  expect(connections).toBe(1);
  await expect(client.releaseReservation({})).rejects.toMatchObject({ reason: "DEPENDENCY_UNAVAILABLE" });
  expect(connections).toBe(4);
  server.close();
});

test("a token that is refused is thrown away, and the call made again once", async () => {
  const quota = implementPartly(UserQuotaService, { reserveStorage: () => ({}) });
  await using running = await startTestService({ services: [quota] });
  const good = await running.issuer.service("gateway", ["quota.reserve"]);
  let current = "x.y.z";
  const tokens = {
    token: async () => current,
    invalidate: () => {
      current = good.replace("Bearer ", "");
    },
  };
  using client = createServiceClient(UserQuotaService, { baseUrl: running.url, tokens, timeoutMs: 20_000 });
  await client.reserveStorage({ userId });
});

test("a token is asked for once, renewed ahead, and kept while auth is away", async () => {
  const clock = new ManualClock();
  let issued = 0;
  let isUp = true;
  const auth = implementPartly(TokenService, {
    issueServiceToken: () => {
      if (!isUp) throw new RpcError({ code: Code.Unavailable, message: "away" });
      issued++;
      const expiresAt = clock.now().add({ seconds: 600 });
      return { accessToken: `token-${issued}`, accessTokenExpiresAt: toTimestamp(expiresAt) };
    },
  });
  await using running = await startTestService({ services: [auth] });
  const source = createServiceTokenSource({ authUrl: running.url, clientId: "c", clientSecret: "s", clock });
  const tokens = await Promise.all(Array.from({ length: 10 }, () => source.token()));
  expect(new Set(tokens)).toEqual(new Set(["token-1"]));

  await clock.advance(401_000);
  expect(await source.token()).toBe("token-1");
  await expect.poll(() => source.token(), PATIENCE).toBe("token-2");

  isUp = false;
  await clock.advance(590_000);
  expect(await source.token()).toBe("token-2");
  await clock.advance(10_000);
  await expect(source.token()).rejects.toMatchObject({ reason: "DEPENDENCY_UNAVAILABLE" });
  isUp = true;
  await clock.advance(60_000);
  expect(await source.token()).toBe("token-3");
});

async function failureOf(call: Promise<unknown>): Promise<ConnectError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof ConnectError)) throw new Error("the call did not fail as it should", { cause: error });
  return error;
}
