import { expect, test } from "vitest";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { startTestService } from "#platform/testing/test-service.ts";

const path = "/decentrastore.auth.v1.AuthService/Login";
const grpcWeb = { type: "application/grpc-web+proto", body: new Uint8Array(5) };
const connect = { type: "application/json", body: "{}" };

test.each([
  ["connect-timeout-ms", "2147483648", "2147483647", connect],
  ["connect-timeout-ms", "9999999999", "600000", connect],
  ["grpc-timeout", "597H", "596H", grpcWeb],
  ["grpc-timeout", "99999999S", "2147483S", grpcWeb],
])("%s: %s is INVALID_ARGUMENT without a word of Node's, and %s is served", async (name, long, longest, message) => {
  await using running = await startTestService({ services: [implementPartly(AuthService, { login: () => ({}) })] });
  const warnings: Error[] = [];
  const hear = (warning: Error) => void warnings.push(warning);
  process.on("warning", hear);
  const post = async (timeout: string) => {
    const headers = { "content-type": message.type, [name]: timeout };
    await (await fetch(running.url + path, { method: "POST", headers, body: message.body })).arrayBuffer();
    return running.lastCall()?.code;
  };
  expect([await post(long), await post(longest)]).toEqual(["INVALID_ARGUMENT", "OK"]);
  process.off("warning", hear);
  expect(warnings).toEqual([]);
});
