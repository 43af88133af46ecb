import { setTimeout as delay } from "node:timers/promises";
import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { PoolExhaustedError } from "#platform/postgres/errors.ts";
import { sql, zVoid } from "#platform/postgres/sql.ts";
import { currentTraceparent } from "#platform/rpc/trace.ts";
import { STACKS, startBothStacks } from "#platform/testing/both-stacks.ts";
import { failureOf, reasonOf } from "#platform/testing/connect-failure.ts";
import { createTestDatabase } from "#platform/testing/test-database.ts";

// How long a condition may take to come true on a busy machine.
const PATIENCE = { timeout: 20_000 };

describe.each(STACKS)("unary calls over %s", (stack) => {
  test("headers and trailers of a handler arrive, also binary ones", async () => {
    await using stacks = await startBothStacks({
      unary: (_request, context) => {
        context.responseHeader.set("x-header", context.requestHeader.get("x-asked") ?? "");
        context.responseTrailer.set("x-trailer-bin", Buffer.from([0, 255]).toString("base64"));
        return { value: "ok" };
      },
    });
    let header: Headers | undefined;
    let trailer: Headers | undefined;
    await stacks.clients[stack].unary(
      {},
      { headers: { "x-asked": "yes" }, onHeader: (all) => (header = all), onTrailer: (all) => (trailer = all) },
    );
    expect(header?.get("x-header")).toBe("yes");
    expect(trailer?.get("x-trailer-bin")?.replace("=", "")).toBe("AP8");
  });

  test("a client's deadline reaches the handler, ends the call and aborts the signal", async () => {
    const seen = Promise.withResolvers<{ leftMs: number | undefined; reason: unknown }>();
    await using stacks = await startBothStacks({
      unary: async ({ value }, context) => {
        if (value === "connect") return {};
        const leftMs = context.timeoutMs();
        await delay(60_000, undefined, { signal: context.signal }).catch(() => {
          seen.resolve({ leftMs, reason: context.signal.reason });
        });
        return {};
      },
    });
    // The deadline also has to suffice for the way to the handler.
    await stacks.clients[stack].unary({ value: "connect" });
    const error = await failureOf(stacks.clients[stack].unary({}, { timeoutMs: 1_000 }));
    expect(error.code).toBe(Code.DeadlineExceeded);
    const { leftMs, reason } = await seen.promise;
    expect(leftMs).toBeGreaterThan(0);
    expect(leftMs).toBeLessThanOrEqual(1_000);
    expect(reason).toBeInstanceOf(Error);
  });

  test("a client that cancels aborts the handler's signal", async () => {
    const aborted = Promise.withResolvers<void>();
    const cancel = new AbortController();
    await using stacks = await startBothStacks({
      unary: async (_request, context) => {
        context.signal.addEventListener("abort", () => aborted.resolve());
        cancel.abort();
        await aborted.promise;
        context.signal.throwIfAborted();
        return {};
      },
    });
    const error = await failureOf(stacks.clients[stack].unary({}, { signal: cancel.signal }));
    expect(error.code).toBe(Code.Canceled);
    await aborted.promise;
    await expect.poll(() => stacks.running.lastCall(), PATIENCE).toMatchObject({ code: "CANCELLED", level: "info" });
  });

  test("the trace of the caller is logged and handed on", async () => {
    let handedOn: string | undefined;
    await using stacks = await startBothStacks({
      unary: async () => {
        await delay(0);
        handedOn = currentTraceparent();
        return {};
      },
    });
    const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
    await stacks.clients[stack].unary({}, { headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` } });
    expect(handedOn?.slice(3, 35)).toBe(traceId);
    expect(stacks.running.lastCall()).toMatchObject({ trace: traceId, code: "OK", caller: "anonymous" });
    await stacks.clients[stack].unary({}, { headers: { traceparent: "nonsense" } });
    expect(stacks.running.lastCall()?.trace).toMatch(/^[0-9a-f]{32}$/);
  });

  test("a database that is down is UNAVAILABLE, and a full pool RESOURCE_EXHAUSTED, both with a retry", async () => {
    await using db = await createTestDatabase();
    const pool = await db.pool("auth", { poolSize: 1, maxOverflow: 0, waitMs: 50 });
    await using stacks = await startBothStacks({
      unary: async ({ value }) => {
        if (value === "full") throw new PoolExhaustedError("29 callers wait", 700);
        await pool.query(sql.type(zVoid)`select pg_terminate_backend(pg_backend_pid())`);
        return {};
      },
    });
    const full = await failureOf(stacks.clients[stack].unary({ value: "full" }));
    expect([full.code, reasonOf(full)]).toEqual([Code.ResourceExhausted, "OVERLOADED"]);
    expect(full.findDetails(RetryInfoSchema)[0]?.retryDelay?.nanos).toBe(700_000_000);
    const down = await failureOf(stacks.clients[stack].unary({ value: "down" }));
    expect([down.code, reasonOf(down)]).toEqual([Code.Unavailable, "DEPENDENCY_UNAVAILABLE"]);
    expect(down.rawMessage).not.toMatch(/terminat|127\.0\.0\.1|pg_/);
    const [line] = stacks.running.lines.filter((each) => each.code === "UNAVAILABLE");
    expect(JSON.stringify(line)).toContain("terminat");
  });
});
