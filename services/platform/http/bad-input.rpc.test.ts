import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTcp } from "node:net";
import { gzipSync } from "node:zlib";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { AuthService, LoginRequestSchema } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { startTestService, type TestService } from "#platform/testing/test-service.ts";

// How long a condition may take to come true on a busy machine.
const PATIENCE = { timeout: 20_000 };

const path = "/decentrastore.auth.v1.AuthService/Login";
const MIB = 1024 * 1024;
const jsonHeaders = { "content-type": "application/json" };

const echo = implementPartly(AuthService, { login: ({ username }) => ({ user: { username } }) });
let running: TestService;
/** Cuts what it waits for. */
let impatient: TestService;
beforeAll(async () => {
  running = await startTestService({ services: [echo] });
  impatient = await startTestService({
    services: [echo],
    httpLimits: { headersTimeoutMs: 600, requestTimeoutMs: 1_200 },
  });
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await impatient[Symbol.asyncDispose]();
});

async function post(body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) {
  const response = await fetch(running.url + path, {
    method: "POST",
    body,
    headers: { "content-type": "application/json", ...headers },
  });
  const text = await response.text();
  return { status: response.status, text, code: /"code":"(\w+)"/.exec(text)?.[1] };
}

/** The reason in a Connect error's body. */
function reasonOf(text: string): string | undefined {
  const { details = [] } = z.object({ details: z.array(zDetail).optional() }).parse(JSON.parse(text));
  const info = details.find((detail) => detail.type === "google.rpc.ErrorInfo");
  return info && fromBinary(ErrorInfoSchema, Buffer.from(info.value, "base64")).reason;
}

const zDetail = z.object({ type: z.string(), value: z.string() });

describe("bodies of the Connect protocol", () => {
  test.each([
    ["no JSON", "{"],
    ["nothing at all", ""],
    ["a wrong type", "5"],
    ["an object for a string", '{"username":{}}'],
    ["an array", "[]"],
  ])("%s is INVALID_ARGUMENT", async (_name, body) => {
    const refused = await post(body);
    expect(refused).toMatchObject({ status: 400, code: "invalid_argument" });
    expect(reasonOf(refused.text)).toBe("INVALID_FIELD");
    await expect.poll(() => running.lastCall(), PATIENCE).toMatchObject({ msg: "rpc", code: "INVALID_ARGUMENT" });
  });

  test("random bytes as protobuf are INVALID_ARGUMENT or a message, and never a server error", async () => {
    for (let i = 0; i < 200; i++) {
      const { status } = await post(new Uint8Array(randomBytes(i)), { "content-type": "application/proto" });
      expect([200, 400]).toContain(status);
    }
  });

  test("text that is no UTF-8 is INVALID_ARGUMENT", async () => {
    const body = Uint8Array.from([10, 2, 0xc3, 0x28]);
    expect(await post(body, { "content-type": "application/proto" })).toMatchObject({ code: "invalid_argument" });
  });

  test("a message above the limit is RESOURCE_EXHAUSTED, and one below it is served", async () => {
    const body = (size: number) =>
      new Uint8Array(toBinary(LoginRequestSchema, create(LoginRequestSchema, { password: "x".repeat(size) })));
    const headers = { "content-type": "application/proto" };
    expect(await post(body(4 * MIB - 100), headers)).toMatchObject({ status: 200 });
    expect(await post(body(4 * MIB), headers)).toMatchObject({ status: 429, code: "resource_exhausted" });
  });

  test("a small body that unpacks to a large one is refused without unpacking it", async () => {
    const bomb = gzipSync(Buffer.alloc(200 * MIB));
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 5; i++) {
      const headers = { "content-type": "application/proto", "content-encoding": "gzip" };
      expect(await post(new Uint8Array(bomb), headers)).toMatchObject({ code: "resource_exhausted" });
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * MIB);
  });

  test("a length that is only announced takes no memory", async () => {
    const before = process.memoryUsage().external;
    const head = `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${4 * MIB}\r\n\r\n`;
    const sockets = Array.from({ length: 100 }, () => connectTcp(Number(new URL(running.url).port), "127.0.0.1"));
    await Promise.all(
      sockets.map((socket) =>
        once(
          socket.on("error", () => {}),
          "connect",
        ),
      ),
    );
    for (const socket of sockets) socket.write(`${head}{`);
    // The last one was read when a later request is answered.
    await post("{}");
    expect(process.memoryUsage().external - before).toBeLessThan(100 * MIB);
    for (const socket of sockets) socket.destroy();
  });

  test("bodies that are too large together are refused while small requests are served", async () => {
    await using small = await startTestService({ services: [echo], httpLimits: { maxBodyBytes: 16 * MIB } });
    const session = connectHttp2(small.url).on("error", () => {});
    const statuses = new Set<unknown>();
    for (let index = 0; index < 30; index += 1) {
      const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/proto" });
      stream.on("error", () => {}).on("response", (answer) => statuses.add(answer[":status"]));
      stream.write(Buffer.alloc(MIB));
    }
    await expect.poll(() => [...statuses], PATIENCE).toEqual([429]);
    expect(small.lastCall()).toMatchObject({ code: "RESOURCE_EXHAUSTED" });
    const honest = await fetch(small.url + path, { method: "POST", body: "{}", headers: jsonHeaders });
    expect(honest.status).toBe(200);
    session.destroy();
  });

  test("bodies from one address that are too large together are refused, and a large one beside them is served", async () => {
    await using small = await startTestService({ services: [echo], httpLimits: { maxBodyBytesPerAddress: 8 * MIB } });
    const sessions = [1, 2].map(() => connectHttp2(small.url).on("error", () => {}));
    const statuses = new Set<unknown>();
    for (let index = 0; index < 12; index += 1) {
      const headers = { ":method": "POST", ":path": path, "content-type": "application/proto" };
      const stream = sessions[index % 2]?.request(headers);
      stream?.on("error", () => {}).on("response", (answer) => statuses.add(answer[":status"]));
      stream?.write(Buffer.alloc(2 * MIB));
    }
    await expect.poll(() => [...statuses], PATIENCE).toEqual([429]);
    const body = JSON.stringify({ username: "x".repeat(MIB / 2) });
    const honest = await fetch(small.url + path, { method: "POST", body, headers: jsonHeaders });
    expect(honest.status).toBe(200);
    for (const session of sessions) session.destroy();
  });

  test("an unknown compression and a content type that is none of ours are refused", async () => {
    expect(await post("{}", { "content-encoding": "snappy" })).toMatchObject({ code: "unimplemented" });
    expect(await post("a=b", { "content-type": "application/x-www-form-urlencoded" })).toMatchObject({ status: 415 });
  });

  test("a deadline that no timer can hold, and one that is no number, are INVALID_ARGUMENT", async () => {
    expect(await post("{}", { "connect-timeout-ms": "9999999999" })).toMatchObject({ code: "invalid_argument" });
    expect(await post("{}", { "connect-timeout-ms": "soon" })).toMatchObject({ code: "invalid_argument" });
    expect(await post("{}", { "connect-timeout-ms": "2000000000" })).toMatchObject({ status: 200 });
  });

  test("an unknown path is a 404 with a code, and a wrong verb a 405", async () => {
    const unknown = await fetch(`${running.url}/decentrastore.auth.v1.AuthService/Nothing`, {
      method: "POST",
      body: "{}",
    });
    expect([unknown.status, await unknown.json()]).toMatchObject([404, { code: "unimplemented" }]);
    expect((await fetch(running.url + path)).status).toBe(405);
    expect((await fetch(`${running.url}/livez`, { method: "POST" })).status).toBe(405);
  });
});

describe("raw HTTP/1", () => {
  const goodRequest = `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}`;

  /** Sends the parts one by one and gives what came back until the server closed. */
  function exchange(parts: readonly string[], { url } = running): Promise<string> {
    return new Promise((resolve) => {
      const socket = connectTcp(Number(new URL(url).port), "127.0.0.1");
      let answer = "";
      socket.setNoDelay(true);
      socket.on("error", () => {});
      socket.on("data", (chunk) => (answer += chunk.toString("latin1")));
      socket.on("close", () => resolve(answer));
      for (const [index, part] of parts.entries()) setTimeout(() => socket.write(part), index * 20);
    });
  }

  test.each([
    [
      "a Host that is no host",
      `POST ${path} HTTP/1.1\r\nhost: [::bad\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}`,
    ],
    ["no Host at all", `POST ${path} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}`],
    ["no HTTP", "\x00\x01\x02 nonsense\r\n\r\n"],
    ["headers without an end", `GET /livez HTTP/1.1\r\nhost: x\r\nx: ${"y".repeat(20_000)}`],
    ["two lengths", `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}`],
  ])("%s gets a 4xx", async (_name, request) => {
    expect(await exchange([request])).toMatch(/^HTTP\/1\.1 4/);
  });

  test("a few requests on top of each other are answered, and more than any client sends end the connection", async () => {
    const kept = goodRequest.replace("connection: close\r\n", "");
    expect((await exchange([kept.repeat(9) + goodRequest])).match(/HTTP\/1\.1 200/g)).toHaveLength(10);
    const answers = (await exchange([kept.repeat(1_000)])).match(/HTTP\/1\.1 200/g) ?? [];
    expect(answers.length).toBeLessThan(1_000);
    await expect.poll(() => running.lastCall(), PATIENCE).toBeDefined();
    expect(running.lines.filter(({ msg }) => msg === "rpc").length).toBeLessThan(800);
  });

  test("a request that comes byte by byte is served, also one that begins like HTTP/2", async () => {
    expect(await exchange([goodRequest.slice(0, 1), goodRequest.slice(1)])).toMatch(/^HTTP\/1\.1 200/);
    expect(await exchange(["P", "RI"], impatient)).toBe("");
  });

  test("a body in chunks of one byte is served when it is short, and by the thousand ends the connection", async () => {
    const head = `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n`;
    const chunked = (body: string) => [...body].map((byte) => `1\r\n${byte}\r\n`).join("");
    expect(await exchange([`${head}${chunked(`{${" ".repeat(900)}}`)}0\r\n\r\n`])).toMatch(/^HTTP\/1\.1 200/);
    expect(await exchange([head + chunked(" ".repeat(5_000))])).toBe("");
  });

  test("a socket that says nothing, or not all of its headers, is cut", async () => {
    expect(await exchange([], impatient)).toBe("");
    expect(await exchange(["GET /livez HTTP/1.1\r\nhost: x\r\n"], impatient)).toMatch(/^HTTP\/1\.1 408/);
  });

  test("a body that does not come is cut", async () => {
    const request = `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{`;
    expect(await exchange([request], impatient)).toMatch(/^HTTP\/1\.1 408|^$/);
  });
});
