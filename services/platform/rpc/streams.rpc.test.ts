import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { setTimeout as delay } from "node:timers/promises";
import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { invalidArgument } from "#platform/rpc/errors.ts";
import { STACKS, startBothStacks } from "#platform/testing/both-stacks.ts";
import { failureOf, reasonOf } from "#platform/testing/connect-failure.ts";
import type { TestService } from "#platform/testing/test-service.ts";

// How long a condition may take to come true on a busy machine.
const PATIENCE = { timeout: 20_000 };

describe.each(STACKS)("streams over %s", (stack) => {
  test("a server stream delivers its messages in order and then ends", async () => {
    await using stacks = await startBothStacks({
      serverStream: async function* () {
        for (let i = 0; i < 1_000; i++) yield { value: String(i) };
      },
    });
    const values = await valuesOf(stacks.clients[stack].serverStream({}));
    expect(values).toEqual(Array.from({ length: 1_000 }, (_, i) => String(i)));
  });

  test("a client stream is read to its end", async () => {
    await using stacks = await startBothStacks({
      clientStream: async (requests) => ({ value: (await valuesOf(requests)).join("") }),
    });
    const answer = await stacks.clients[stack].clientStream(messages(["a", "b", "c"]));
    expect(answer.value).toBe("abc");
  });

  test("a two-way stream answers each request, and after the half-close what was read", async () => {
    await using stacks = await startBothStacks({
      bidi: async function* (requests) {
        for await (const { value } of requests) yield { value: value.toUpperCase() };
        yield { value: "end" };
      },
    });
    expect(await valuesOf(stacks.clients[stack].bidi(messages(["a", "b"])))).toEqual(["A", "B", "end"]);
  });

  test("an error in the middle comes after the messages before it", async () => {
    await using stacks = await startBothStacks({
      serverStream: async function* () {
        yield { value: "first" };
        throw invalidArgument([{ field: "value", rule: "must be good" }]);
      },
    });
    const seen: string[] = [];
    const read = async () => {
      for await (const { value } of stacks.clients[stack].serverStream({})) seen.push(value);
    };
    const error = await failureOf(read());
    expect([seen, error.code, error.rawMessage]).toEqual([["first"], Code.InvalidArgument, "value must be good"]);
    expect(stacks.running.lastCall()).toMatchObject({
      rpc: "grpc.testing.TestService/ServerStream",
      code: "INVALID_ARGUMENT",
    });
  });

  test("an error before the first message is the stream's only answer", async () => {
    await using stacks = await startBothStacks({
      bidi: () => {
        throw new Error("a bug");
      },
    });
    const error = await failureOf(valuesOf(stacks.clients[stack].bidi(messages(["a"]))));
    expect([error.code, reasonOf(error), error.rawMessage]).toEqual([Code.Internal, "INTERNAL", "internal error"]);
  });

  test("a client that leaves has the handler's cleanup run, and is logged as CANCELLED", async () => {
    const cleaned = Promise.withResolvers<string>();
    await using stacks = await startBothStacks({
      serverStream: async function* (_request, context) {
        try {
          for (let i = 0; ; i++) {
            yield { value: String(i) };
            await delay(1, undefined, { signal: context.signal });
          }
        } finally {
          cleaned.resolve("cleaned");
        }
      },
    });
    const leave = new AbortController();
    const read = async () => {
      for await (const { value } of stacks.clients[stack].serverStream({}, { signal: leave.signal })) {
        if (value === "3") leave.abort();
      }
    };
    const error = await failureOf(read());
    expect(error.code).toBe(Code.Canceled);
    expect(await cleaned.promise).toBe("cleaned");
    await expect.poll(() => stacks.running.lastCall(), PATIENCE).toMatchObject({ code: "CANCELLED", msg: "rpc" });
  });

  test("a client's deadline ends a stream that has none of its own", async () => {
    await using stacks = await startBothStacks({
      serverStream: async function* (_request, context) {
        yield { value: "first" };
        await delay(60_000, undefined, { signal: context.signal });
      },
    });
    const error = await failureOf(valuesOf(stacks.clients[stack].serverStream({}, { timeoutMs: 1_000 })));
    expect(error.code).toBe(Code.DeadlineExceeded);
    await expect.poll(() => stacks.running.lastCall()?.code, PATIENCE).toMatch(/DEADLINE_EXCEEDED|CANCELLED/);
  });
});

// Bare HTTP/2 clients, because connect-node's client reads ahead by 100 MB, and Node's ends its requests before it cancels.
describe.each(["main port", "node edge"])("on the %s", (port) => {
  const open = async (running: TestService, method: string) => {
    const session = port === "main port" ? connectHttp2(running.url) : await connectToEdge(running);
    const stream = session.request({
      ":method": "POST",
      ":path": `/grpc.testing.TestService/${method}`,
      "content-type": "application/grpc",
      te: "trailers",
    });
    stream.on("error", () => {});
    return stream;
  };

  test("a stalled reader stops the handler instead of filling memory", async () => {
    let produced = 0;
    const large = "x".repeat(64 * 1024);
    await using stacks = await startBothStacks({
      serverStream: async function* () {
        for (; produced < 10_000; produced++) yield { value: large };
      },
    });
    const stream = await open(stacks.running, "ServerStream");
    stream.end(frame(""));
    await once(stream, "response");
    await untilSteady(() => produced);
    expect(produced).toBeLessThan(100);
    stream.session?.destroy();
  });

  test.each(["reset", "lost connection"])("a handler that waits for requests learns of a %s", async (way) => {
    const waiting = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<unknown>();
    await using stacks = await startBothStacks({
      bidi: async function* (requests) {
        try {
          for await (const { value } of requests) {
            if (value === "a") waiting.resolve();
            else yield { value };
          }
          ended.resolve("end of the requests");
        } catch (error) {
          ended.resolve(error);
          throw error;
        }
      },
    });
    const stream = await open(stacks.running, "Bidi");
    stream.write(frame("a"));
    await waiting.promise;
    if (way === "reset") stream.destroy(new Error("reset"));
    else stream.session?.destroy();
    expect(await ended.promise).toMatchObject({ code: Code.Canceled });
    await expect.poll(() => stacks.running.lastCall(), PATIENCE).toMatchObject({ code: "CANCELLED", msg: "rpc" });
    stream.session?.destroy();
  });
});

/** A gRPC frame with a StringValue shorter than 128 bytes. */
function frame(value: string): Buffer {
  const message = value === "" ? Buffer.alloc(0) : Buffer.from([10, value.length, ...Buffer.from(value)]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

async function connectToEdge({ ca, edgeAddress }: TestService) {
  const { certificate, privateKey } = await ca.node();
  const url = `https://localhost:${edgeAddress.split(":")[1]}`;
  return connectHttp2(url, { ca: ca.certificate, cert: certificate, key: privateKey });
}

async function* messages(values: readonly string[]) {
  for (const value of values) yield { value };
}

async function valuesOf(stream: AsyncIterable<{ value: string }>): Promise<string[]> {
  const values: string[] = [];
  for await (const { value } of stream) values.push(value);
  return values;
}

async function untilSteady(read: () => number): Promise<void> {
  for (let last = -1, same = 0; same < 10; ) {
    await delay(20);
    same = read() === last ? same + 1 : 0;
    last = read();
  }
}
