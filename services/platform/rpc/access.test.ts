import { create, toBinary } from "@bufbuild/protobuf";
import { fileDesc, serviceDesc } from "@bufbuild/protobuf/codegenv2";
import { FileDescriptorProtoSchema, file_google_protobuf_wrappers } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { NodeDirectoryService } from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { Health } from "#gen/grpc/health/v1/health_pb.ts";
import { accessRuleOf, assertAccessDeclared } from "./access.ts";
import { anonymous, type Caller } from "./caller.ts";

const user: Caller = { kind: "user", userId: "u1", sessionId: "s", isAdmin: false };
const admin: Caller = { kind: "user", userId: "a1", sessionId: "s", isAdmin: true };
const service = (...scopes: string[]): Caller => ({ kind: "service", clientId: "c", scopes: new Set(scopes) });
const node: Caller = { kind: "node", nodeId: "n" };

describe("the rules of the contract", () => {
  test.each([
    ["PUBLIC", AuthService.method.login, [anonymous, user, service(), node], []],
    ["USER", AuthService.method.getCurrentUser, [user, admin], [service("quota.read"), node]],
    ["ADMIN", UserQuotaService.method.setQuota, [admin], [user, service("quota.reserve"), node]],
    [
      "SERVICE with a scope",
      UserQuotaService.method.reserveStorage,
      [service("x", "quota.reserve")],
      [service("quota.read"), admin, user],
    ],
    ["ADMIN or SERVICE", NodeDirectoryService.method.listNodes, [admin, service("nodes.read")], [user, service()]],
    ["NODE", NodeService.method.heartbeat, [node], [user, admin, service("nodes.read")]],
  ] as const)("%s", (_name, method, admitted, refused) => {
    const rule = accessRuleOf(method);
    for (const caller of admitted) expect(rule.admits(caller)).toBeUndefined();
    for (const caller of refused) expect(rule.admits(caller)?.reason).toBe("ACCESS_DENIED");
    if (!rule.isPublic) expect(rule.admits(anonymous)?.reason).toBe("TOKEN_MISSING");
  });

  test("SELF compares the request's user_id with the caller", () => {
    const rule = accessRuleOf(UserQuotaService.method.getQuota);
    expect(rule.admitsRequest(user, { userId: "U1" })).toBeUndefined();
    expect(rule.admitsRequest(admin, { userId: "u1" })).toBeUndefined();
    expect(rule.admitsRequest(service("quota.read"), { userId: "u1" })).toBeUndefined();
    for (const request of [{ userId: "u2" }, { userId: "" }, {}]) {
      expect(rule.admitsRequest(user, request)?.reason).toBe("ACCESS_DENIED");
    }
  });

  test("grpc.* is open to everybody", () => {
    expect(accessRuleOf(Health.method.check).isPublic).toBe(true);
  });
});

test("a service with an RPC that declares no access does not start", () => {
  const message = ".google.protobuf.StringValue";
  const proto = create(FileDescriptorProtoSchema, {
    name: "forgotten.proto",
    package: "decentrastore.forgotten.v1",
    syntax: "proto3",
    dependency: ["google/protobuf/wrappers.proto"],
    service: [{ name: "ForgottenService", method: [{ name: "Call", inputType: message, outputType: message }] }],
  });
  const bytes = Buffer.from(toBinary(FileDescriptorProtoSchema, proto)).toString("base64");
  const forgotten = serviceDesc(fileDesc(bytes, [file_google_protobuf_wrappers]), 0);
  expect(() => assertAccessDeclared(forgotten)).toThrow("decentrastore.forgotten.v1.ForgottenService.Call declares no");
});
