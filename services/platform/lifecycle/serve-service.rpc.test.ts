import { connect as connectTcp } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { describe, expect, test } from "vitest";
import { Health, HealthCheckResponse_ServingStatus as Status } from "#gen/grpc/health/v1/health_pb.ts";
import { STACKS, startBothStacks } from "#platform/testing/both-stacks.ts";
import { failureOf, reasonOf } from "#platform/testing/connect-failure.ts";
import { startTestService } from "#platform/testing/test-service.ts";

// How long a condition may take to come true on a busy machine.
const PATIENCE = { timeout: 20_000 };
// Less than the 15 s that a service grants to what does not end.
const STOP_MS = 12_000;

describe("probes", () => {
  test("readiness follows its checks, liveness does not, on both ports", async () => {
    let isUp = true;
    const database = () => {
      if (!isUp) throw new Error("no route to 10.0.0.7");
    };
    await using running = await startTestService({ readiness: { database } });
    const statusOf = async (url: string) => (await fetch(url)).status;
    for (const url of [running.url, running.opsUrl]) {
      expect([await statusOf(`${url}/livez`), await statusOf(`${url}/readyz`)]).toEqual([200, 200]);
    }
    isUp = false;
    await expect.poll(() => statusOf(`${running.url}/readyz`), PATIENCE).toBe(503);
    const answer = await fetch(`${running.opsUrl}/readyz`);
    expect([answer.status, await answer.json()]).toEqual([
      503,
      { status: "not ready", checks: { database: "failing" } },
    ]);
    expect(await statusOf(`${running.url}/livez`)).toBe(200);
  });

  test("metrics are on the ops port only", async () => {
    await using stacks = await startBothStacks({ unary: () => ({}) });
    await stacks.clients.connect.unary({});
    expect((await fetch(`${stacks.running.url}/metrics`)).status).toBe(404);
    const metrics = await (await fetch(`${stacks.running.opsUrl}/metrics`)).text();
    expect(metrics).toMatch(/decentrastore_rpc_calls_total\{method="grpc.testing.TestService\/Unary",code="OK".*\} 1/);
    expect(metrics).toContain("decentrastore_rpc_duration_seconds_bucket");
  });

  test("grpc.health.v1 answers on both stacks, for the whole and for each service", async () => {
    let isUp = true;
    await using stacks = await startBothStacks(
      {},
      { readiness: { database: () => isUp || Promise.reject(new Error()) } },
    );
    const { ca, edgeAddress, url } = stacks.running;
    const node = await ca.node();
    const nodeOptions = { ca: ca.certificate, cert: node.certificate, key: node.privateKey };
    const edgeUrl = `https://localhost:${edgeAddress.split(":")[1]}`;
    for (const transport of [
      createGrpcTransport({ baseUrl: url }),
      createGrpcTransport({ baseUrl: edgeUrl, nodeOptions }),
    ]) {
      isUp = true;
      const health = createClient(Health, transport);
      await expect.poll(async () => (await health.check({})).status, PATIENCE).toBe(Status.SERVING);
      expect((await health.check({ service: "grpc.testing.TestService" })).status).toBe(Status.SERVING);
      expect((await failureOf(health.check({ service: "nobody" }))).code).toBe(Code.NotFound);
      const seen: Status[] = [];
      for await (const { status } of health.watch({})) {
        seen.push(status);
        isUp = false;
        if (seen.length === 2) break;
      }
      expect(seen).toEqual([Status.SERVING, Status.NOT_SERVING]);
    }
  });
});

describe.each(STACKS)("a stop, seen over %s", (stack) => {
  test("lets calls in flight finish, ends streams with UNAVAILABLE and refuses new connections", async () => {
    const started: string[] = [];
    const stacks = await startBothStacks({
      unary: async ({ value }) => {
        started.push(value);
        await delay(300);
        return { value };
      },
      bidi: async function* (requests) {
        for await (const request of requests) yield request;
      },
      serverStream: async function* (_request, context) {
        yield { value: "first" };
        await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
      },
    });
    const client = stacks.clients[stack];
    const calls = Array.from({ length: 50 }, (_, i) => client.unary({ value: `${i}` }));
    const streams = [readAll(client.serverStream({})), readAll(client.bidi(endless()))];
    await expect.poll(() => started.length, PATIENCE).toBe(50);
    const startedAt = performance.now();
    await stacks[Symbol.asyncDispose]();
    expect(performance.now() - startedAt).toBeLessThan(STOP_MS);
    expect((await Promise.all(calls)).map(({ value }) => value)).toEqual(Array.from({ length: 50 }, (_, i) => `${i}`));
    for (const error of await Promise.all(streams)) {
      expect([error?.code, reasonOf(error)]).toEqual([Code.Unavailable, "SHUTTING_DOWN"]);
    }
    expect((await failureOf(client.unary({}))).code).toBe(Code.Unavailable);
  });

  test("cuts what does not finish within the grace", async () => {
    const started = Promise.withResolvers<void>();
    const stacks = await startBothStacks(
      {
        unary: () => {
          started.resolve();
          return new Promise(() => {});
        },
      },
      { stopGraceMs: 200 },
    );
    const call = failureOf(stacks.clients[stack].unary({}));
    await started.promise;
    await stacks[Symbol.asyncDispose]();
    expect(await call).toBeInstanceOf(ConnectError);
  });
});

test("a stop does not wait for connections that nobody uses", async () => {
  const stacks = await startBothStacks({ unary: () => ({}) });
  const port = Number(new URL(stacks.running.url).port);
  const silent = connectTcp(port, "127.0.0.1");
  const half = connectTcp(port, "127.0.0.1");
  half.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
  await stacks.clients.connect.unary({});
  const startedAt = performance.now();
  await stacks[Symbol.asyncDispose]();
  expect(performance.now() - startedAt).toBeLessThan(STOP_MS);
  silent.destroy();
  half.destroy();
});

test("calls that come in all the time either succeed or are refused while a service stops", async () => {
  const stacks = await startBothStacks({
    unary: async () => {
      await delay(5);
      return {};
    },
  });
  const codes = new Map<string, number>();
  let isOver = false;
  const load = Array.from({ length: 40 }, async (_, i) => {
    const client = stacks.clients[STACKS[i % 3] ?? "edge"];
    while (!isOver) {
      const outcome = await client.unary({}).then(() => "OK", outcomeOf);
      codes.set(outcome, (codes.get(outcome) ?? 0) + 1);
      if (outcome !== "OK") break;
    }
  });
  await expect.poll(() => codes.get("OK"), PATIENCE).toBeGreaterThan(100);
  await stacks[Symbol.asyncDispose]();
  isOver = true;
  await Promise.all(load);
  expect([...codes.keys()].filter((code) => !["OK", "Unavailable", "refused"].includes(code))).toEqual([]);
});

/** A refused stream was not processed: gRPC clients send it again by themselves, connect-node calls it INTERNAL. */
function outcomeOf(reason: unknown): string {
  const error = ConnectError.from(reason);
  return error.rawMessage.includes("REFUSED_STREAM") ? "refused" : (Code[error.code] ?? "?");
}

async function* endless() {
  yield { value: "a" };
  await new Promise(() => {});
}

/** Reads a stream to its end and gives its error. */
async function readAll(stream: AsyncIterable<unknown>): Promise<ConnectError | undefined> {
  try {
    for await (const _ of stream);
    return undefined;
  } catch (error) {
    return ConnectError.from(error);
  }
}
