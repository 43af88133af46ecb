import { Code } from "@connectrpc/connect";
import type { Logger } from "#platform/log/logger.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import { adviceOf } from "#platform/postgres/setup-errors.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { Call } from "./call.ts";
import { describeCaller, peerKey } from "./caller.ts";
import { codeName } from "./codes.ts";
import type { RpcError } from "./errors.ts";
import type { InFlight } from "./in-flight.ts";
import { createLineLimit } from "./line-limit.ts";

const SLOW_MS = 1_000;
const SAMPLE_EVERY = 1_000;
/** Codes that say something about us and not about the caller: the log shows the cause chain. */
const OUR_FAULT: ReadonlySet<Code> = new Set([Code.Internal, Code.Unknown, Code.DataLoss]);
const TROUBLE: ReadonlySet<Code> = new Set([Code.Unavailable, Code.DeadlineExceeded]);

export interface CallLog {
  /** From here on the call counts as in flight, until it is finished. */
  begun(): void;
  /** The handler begins: from here on the policy sees to it that the call is finished. */
  started(call: Call): void;
  /** Counts and logs the call, once; later calls for the same one do nothing. */
  finished(call: Call, error?: RpcError): void;
  /** An error that came after the client had its answer. Of many alike in a second, one line for all the others. */
  late(call: Call, error: unknown): void;
}

/**
 * One line and one observation per RPC; for high-rate methods a line on errors, when slow, and for 1 call in 1,000.
 * Where many alike fail in a second, one line for all the others.
 */
export function createCallLog(deps: { log: Logger; metrics: Metrics; clock: Clock; inFlight: InFlight }): CallLog {
  const { log, clock, inFlight } = deps;
  const calls = deps.metrics.counter({
    name: "rpc_calls_total",
    help: "RPCs answered, by method and code.",
    labels: ["method", "code"],
  });
  const durations = deps.metrics.histogram({
    name: "rpc_duration_seconds",
    help: "From the complete request to the end of unary RPCs.",
    labels: ["method"],
  });
  const streams = deps.metrics.gauge({ name: "rpc_open_streams", help: "Streams being served.", labels: ["method"] });
  const hasOwnLine = createLineLimit(log);
  let sampled = 0;

  return {
    begun: () => inFlight.begin(),
    started: (call) => {
      call.isStarted = true;
      if (isStream(call)) streams.inc({ method: call.policy.name });
    },
    finished: (call, error) => {
      if (call.isFinished) return;
      call.isFinished = true;
      call.isSuccess = error === undefined;
      inFlight.end();
      const { name, isHighRate } = call.policy;
      const ms = clock.monotonicMs() - call.startedMs;
      const code = codeName(error?.code ?? 0);
      calls.inc({ method: name, code });
      if (!isStream(call)) durations.observe({ method: name }, ms / 1_000);
      else if (call.isStarted) streams.dec({ method: name });
      const isQuiet = isHighRate && error === undefined && (isStream(call) || ms < SLOW_MS);
      if (isQuiet && ++sampled % SAMPLE_EVERY !== 0) return;
      if (error !== undefined && !hasOwnLine({ rpc: name, code, reason: error.reason, host: hostOf(call) })) return;
      writeLine(log, call, { code, ms }, error);
    },
    late: (call, error) => {
      if (!hasOwnLine({ rpc: call.policy.name, code: "LATE", reason: undefined, host: hostOf(call) })) return;
      log.warn({ rpc: call.policy.name, trace: call.traceId, err: error }, "rpc failed after it was answered");
    },
  };
}

function hostOf({ context }: Call): string {
  return context.values.get(peerKey)().host;
}

function isStream(call: Call): boolean {
  return call.policy.method.methodKind !== "unary";
}

function writeLine(log: Logger, call: Call, result: { code: string; ms: number }, error: RpcError | undefined): void {
  const line = {
    rpc: call.policy.name,
    code: result.code,
    ms: Math.round(result.ms * 10) / 10,
    caller: describeCaller(call.caller),
    trace: call.traceId,
    ...(error === undefined ? {} : { reason: error.reason, message: error.message }),
  };
  if (error === undefined) log.info(line, "rpc");
  else if (OUR_FAULT.has(error.code)) log.error({ ...line, err: error.cause ?? error }, "rpc");
  else if (error.cause !== undefined) log.warn({ ...line, cure: adviceOf(error.cause), err: error.cause }, "rpc");
  else if (TROUBLE.has(error.code)) log.warn(line, "rpc");
  else log.info(line, "rpc");
}
