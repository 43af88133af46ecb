import { setTimeout as delay } from "node:timers/promises";
import { Code, ConnectError, createClient, type ServiceImpl } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { startHttpServer } from "#platform/http/http-server.ts";
import { createLogger } from "#platform/log/logger.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { failureOf, reasonOf } from "#platform/testing/connect-failure.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { TestProtocol } from "#platform/testing/test-protocol.ts";
import { systemClock } from "#platform/time/clock.ts";
import { anonymous } from "./caller.ts";
import { toConnectError } from "./details.ts";
import { invalidArgument } from "./errors.ts";
import { createInFlight } from "./in-flight.ts";
import { createPolicy } from "./policy.ts";

async function start(impl: Partial<ServiceImpl<typeof TestProtocol>>) {
  const lines: Record<string, unknown>[] = [];
  const log = createLogger("test", "info", { write: (line) => lines.push(JSON.parse(line)) });
  const inFlight = createInFlight();
  const policy = createPolicy({
    log,
    metrics: createMetrics("test"),
    clock: systemClock,
    inFlight,
    identify: () => anonymous,
    toTransportError: toConnectError,
    stopping: new AbortController().signal,
    unaryDeadlineMs: 80,
  });
  const services = [policy(implementPartly(TestProtocol, impl))];
  const server = await startHttpServer({ host: "127.0.0.1", port: 0, services, log });
  const transport = createConnectTransport({ baseUrl: `http://127.0.0.1:${server.port}`, httpVersion: "2" });
  return {
    lines,
    inFlight,
    client: createClient(TestProtocol, transport),
    [Symbol.asyncDispose]: () => server.close({ graceMs: 0, calls: inFlight }),
  };
}

async function codeOf(call: Promise<unknown>): Promise<Code | 0> {
  return call.then(
    () => 0,
    (error: unknown) => ConnectError.from(error).code,
  );
}

test("a unary call without a deadline gets one, also where the handler does not care", async () => {
  const seen: unknown[] = [];
  await using running = await start({
    unary: (_request, context) => {
      seen.push(context.timeoutMs());
      context.signal.addEventListener("abort", () => seen.push("aborted"));
      return new Promise(() => {});
    },
  });
  const error = await failureOf(running.client.unary({}));
  expect([error.code, reasonOf(error)]).toEqual([Code.DeadlineExceeded, "DEADLINE_EXCEEDED"]);
  expect(seen[0]).toBeLessThanOrEqual(80);
  expect(seen[1]).toBe("aborted");
  expect(running.inFlight.count).toBe(0);
});

test("a client's own deadline takes its place", async () => {
  await using running = await start({
    unary: async () => {
      await delay(200);
      return {};
    },
  });
  expect(await codeOf(running.client.unary({}, { timeoutMs: 20_000 }))).toBe(0);
});

test("what fails after the deadline is in the log", async () => {
  await using running = await start({
    unary: async () => {
      await delay(160);
      throw new Error("too late");
    },
  });
  expect(await codeOf(running.client.unary({}))).toBe(Code.DeadlineExceeded);
  await expect
    .poll(() => running.lines.at(-1), { timeout: 20_000 })
    .toMatchObject({ msg: "rpc failed after it was answered", err: { message: "too late" } });
});

test("what is refused after the deadline is no failure", async () => {
  await using running = await start({
    unary: async ({ value }) => {
      await delay(160);
      throw value === "refused" ? invalidArgument([{ field: "value", rule: "is wrong" }]) : new Error("too late");
    },
  });
  expect(await codeOf(running.client.unary({ value: "refused" }))).toBe(Code.DeadlineExceeded);
  expect(await codeOf(running.client.unary({ value: "failed" }))).toBe(Code.DeadlineExceeded);
  const late = () => running.lines.filter(({ msg }) => msg === "rpc failed after it was answered");
  await expect.poll(late, { timeout: 20_000 }).toMatchObject([{ err: { message: "too late" } }]);
});

test("where many fail after the deadline, one line tells of most of them", async () => {
  const calls = 200;
  await using running = await start({
    unary: async () => {
      await delay(160);
      throw new Error("too late");
    },
  });
  await Promise.all(Array.from({ length: calls }, () => codeOf(running.client.unary({}))));
  const late = () => running.lines.filter(({ msg }) => msg === "rpc failed after it was answered").length;
  const others = () => running.lines.filter(({ code, calls }) => code === "LATE" && calls !== undefined);
  const told = () => others().reduce((sum, line) => sum + Number(line.calls), late());
  await expect.poll(told, { timeout: 20_000 }).toBe(calls);
  expect(late()).toBeLessThan(calls);
});

test("a stream has no deadline of its own", async () => {
  await using running = await start({
    serverStream: async function* (_request, context) {
      yield { value: `${context.timeoutMs()}` };
      await delay(160);
      yield { value: "still here" };
    },
  });
  const values: string[] = [];
  for await (const { value } of running.client.serverStream({})) values.push(value);
  expect(values).toEqual(["undefined", "still here"]);
});
