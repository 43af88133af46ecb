import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { startTestService, type TestService } from "#platform/testing/test-service.ts";
import { withoutValues } from "./unread-message.ts";

let running: TestService;
beforeAll(async () => {
  running = await startTestService({ services: [implementPartly(AuthService, { login: () => ({}) })] });
});
afterAll(() => running[Symbol.asyncDispose]());

const path = "/decentrastore.auth.v1.AuthService/Login";

/** A message in JSON as a protocol sends it. */
const protocols = [
  ["Connect", "application/json", (json: string) => Buffer.from(json)],
  ["gRPC-Web", "application/grpc-web+json", enveloped],
] as const;

function enveloped(json: string): Buffer<ArrayBuffer> {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(Buffer.byteLength(json), 1);
  return Buffer.concat([head, Buffer.from(json)]);
}

describe.each(protocols)("over %s", (_name, type, bytesOf) => {
  test.each([
    ["a number for a text", '{"password":4815162342}', "LoginRequest.password from JSON: expected string"],
    ["a word without quotes", '{"password":sesame}', "LoginRequest from JSON"],
    ["a form", "password=sesame", "LoginRequest from JSON"],
    ["half a message", '{"password":"sesame', "LoginRequest from JSON: at position 19 (line 1 column 20)"],
    ["nothing behind a name", '{"sesame":', "LoginRequest from JSON: Unexpected end of JSON input"],
    ["a bare text", '"sesame"', "LoginRequest from JSON"],
    ["a quote in a text", '{"password":"x"sesame"}', "LoginRequest from JSON: at position 15 (line 1 column 16)"],
  ])("neither the answer nor the log repeats a message that cannot be read: %s", async (_what, json, said) => {
    const before = running.lines.length;
    const headers = { "content-type": type };
    const response = await fetch(running.url + path, { method: "POST", headers, body: bytesOf(json) });
    const answer = decodeURIComponent(await response.text());
    await expect.poll(() => running.lines.slice(before), { timeout: 20_000 }).toHaveLength(1);
    const [line] = running.lines.slice(before);
    expect(line).toMatchObject({ code: "INVALID_ARGUMENT", reason: "INVALID_FIELD" });
    expect(line?.message).toBe(
      `cannot decode ${said.includes("password") ? "field" : "message"} decentrastore.auth.v1.${said}`,
    );
    expect(answer).toContain(said);
    expect(answer + JSON.stringify(line)).not.toMatch(/sesame|4815162342/);
  });
});

test.each([
  [
    `a.B.c from JSON: list item #2: expected number (int32), got "sesame"`,
    "a.B.c from JSON: list item #2: expected number (int32)",
  ],
  ["a.B.c from JSON: expected bigint (int64): sesame out of range", "a.B.c from JSON: expected bigint (int64)"],
  ['a.B.c from JSON: map entry "sesame": expected string, got 1', "a.B.c from JSON"],
  ['a.B.c from JSON: expected a.b.Kind, got "sesame"', "a.B.c from JSON: expected a.b.Kind"],
])("%s", (said, told) => {
  expect(withoutValues(`cannot decode field ${said}`)).toBe(`cannot decode field ${told}`);
});

test("what is no parser's word stays as it is", () => {
  const message = "protocol error: invalid connect timeout value: soon";
  expect(withoutValues(message)).toBe(message);
});
