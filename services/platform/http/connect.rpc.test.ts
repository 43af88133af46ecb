import { randomUUID } from "node:crypto";
import { Code, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  QuotaFailureSchema,
  RetryInfoSchema,
} from "#gen/google/rpc/error_details_pb.ts";
import { callerOf } from "#platform/rpc/caller.ts";
import { invalidArgument, RpcError } from "#platform/rpc/errors.ts";
import { failureOf, reasonOf } from "#platform/testing/connect-failure.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { startTestService, type TestService } from "#platform/testing/test-service.ts";

// How long a condition may take to come true on a busy machine.
const PATIENCE = { timeout: 20_000 };

const userId = randomUUID();
const quota = implementPartly(UserQuotaService, {
  getQuota: (request, context) => {
    expect(callerOf(context).kind).not.toBe("anonymous");
    return { quota: { userId: request.userId, storageUsedBytes: 2n ** 60n } };
  },
  reserveStorage: () => {
    throw new RpcError({
      code: Code.ResourceExhausted,
      reason: "QUOTA_EXCEEDED",
      message: "not enough quota",
      metadata: { limit_bytes: "10" },
      quota: [{ subject: `user:${userId}`, description: "10 bytes" }],
      retryAfterMs: 1_500,
    });
  },
  listLedgerEntries: () => ({ ledgerEntries: [{ deltaBytes: 2n ** 80n }] }),
  setQuota: () => {
    throw invalidArgument([{ field: "storage_quota_bytes", rule: "must be at least 0" }]);
  },
  releaseReservation: () => {
    throw new Error("select secret from users");
  },
});
const auth = implementPartly(AuthService, {
  login: () => ({ user: { username: "ann" } }),
  getCurrentUser: (_request, context) => {
    const caller = callerOf(context);
    return { user: { userId: caller.kind === "user" ? caller.userId : "" } };
  },
});

let running: TestService;
beforeAll(async () => {
  running = await startTestService({ services: [quota, auth] });
});
afterAll(() => running[Symbol.asyncDispose]());

const transports = {
  "Connect, HTTP/1.1, JSON": () =>
    createConnectTransport({ baseUrl: running.url, httpVersion: "1.1", useBinaryFormat: false }),
  "Connect, h2c": () => createConnectTransport({ baseUrl: running.url, httpVersion: "2" }),
  gRPC: () => createGrpcTransport({ baseUrl: running.url }),
  "gRPC-Web": () => createGrpcWebTransport({ baseUrl: running.url, httpVersion: "1.1" }),
};

describe.each(Object.entries(transports))("%s", (_name, transport) => {
  const clientOf = () => createClient(UserQuotaService, transport());

  test("calls a handler with the caller of the token", async () => {
    const authorization = await running.issuer.user(userId);
    const answer = await clientOf().getQuota({ userId }, { headers: { authorization } });
    expect(answer.quota?.storageUsedBytes).toBe(2n ** 60n);
  });

  test("carries reason, metadata, quota and retry of an error", async () => {
    const authorization = await running.issuer.service("gateway", ["quota.reserve"]);
    const error = await failureOf(clientOf().reserveStorage({ userId }, { headers: { authorization } }));
    expect([error.code, error.rawMessage]).toEqual([Code.ResourceExhausted, "not enough quota"]);
    expect(error.findDetails(ErrorInfoSchema)[0]).toMatchObject({
      domain: "decentrastore",
      reason: "QUOTA_EXCEEDED",
      metadata: { limit_bytes: "10" },
    });
    expect(error.findDetails(QuotaFailureSchema)[0]?.violations).toMatchObject([{ description: "10 bytes" }]);
    expect(error.findDetails(RetryInfoSchema)[0]?.retryDelay).toMatchObject({ seconds: 1n, nanos: 500_000_000 });
  });

  test("names the fields of bad input", async () => {
    const authorization = await running.issuer.user(userId, { isAdmin: true });
    const error = await failureOf(clientOf().setQuota({ userId }, { headers: { authorization } }));
    expect([error.code, reasonOf(error)]).toEqual([Code.InvalidArgument, "INVALID_FIELD"]);
    expect(error.findDetails(BadRequestSchema)[0]?.fieldViolations).toMatchObject([
      { field: "storage_quota_bytes", description: "must be at least 0" },
    ]);
  });

  test("tells nothing of an unexpected error, which the log has once with its cause", async () => {
    const authorization = await running.issuer.service("gateway", ["quota.reserve"]);
    const before = running.lines.length;
    const error = await failureOf(clientOf().releaseReservation({}, { headers: { authorization } }));
    expect([error.code, reasonOf(error), error.rawMessage]).toEqual([Code.Internal, "INTERNAL", "internal error"]);
    const lines = running.lines.slice(before).filter((line) => JSON.stringify(line).includes("select secret"));
    expect(lines).toMatchObject([{ level: "error", code: "INTERNAL", caller: "service:gateway" }]);
  });

  test("says who may call, and whether credentials are missing, bad or not enough", async () => {
    const refusalOf = async (authorization?: string) => {
      const error = await failureOf(
        clientOf().getQuota({ userId }, authorization ? { headers: { authorization } } : {}),
      );
      return [error.code, reasonOf(error)];
    };
    expect(await refusalOf()).toEqual([Code.Unauthenticated, "TOKEN_MISSING"]);
    expect(await refusalOf("Bearer nonsense")).toEqual([Code.Unauthenticated, "TOKEN_INVALID"]);
    expect(await refusalOf("Basic dXNlcjpwdw==")).toEqual([Code.Unauthenticated, "TOKEN_INVALID"]);
    expect(await refusalOf(await running.issuer.user(randomUUID()))).toEqual([Code.PermissionDenied, "ACCESS_DENIED"]);
    expect(await refusalOf(await running.issuer.service("x", ["quota.reserve"]))).toEqual([
      Code.PermissionDenied,
      "ACCESS_DENIED",
    ]);
  });

  test("admits any caller that one entry of the rule fits", async () => {
    const tokens = [
      await running.issuer.user(userId.toUpperCase()),
      await running.issuer.user(randomUUID(), { isAdmin: true }),
      await running.issuer.service("gateway", ["other", "quota.read"]),
    ];
    for (const authorization of tokens) await clientOf().getQuota({ userId }, { headers: { authorization } });
  });

  test("looks at no credentials where the RPC is public", async () => {
    const client = createClient(AuthService, transport());
    const answer = await client.login({}, { headers: { authorization: "Bearer garbage" } });
    expect(answer.user?.username).toBe("ann");
  });

  test("answers UNIMPLEMENTED for RPCs that this version lacks", async () => {
    const authorization = await running.issuer.user(userId, { isAdmin: true });
    const error = await failureOf(clientOf().listAccounts({}, { headers: { authorization } }));
    expect(error.code).toBe(Code.Unimplemented);
  });
});

test("a response that does not fit its message is INTERNAL and in the log", async () => {
  const client = createClient(UserQuotaService, createGrpcTransport({ baseUrl: running.url }));
  const authorization = await running.issuer.user(userId);
  const before = running.lines.length;
  const error = await failureOf(client.listLedgerEntries({ userId }, { headers: { authorization } }));
  expect(error.code).toBe(Code.Internal);
  await expect
    .poll(() => running.lines.slice(before).map(({ msg }) => msg), PATIENCE)
    .toContain("rpc failed after it was answered");
});
