import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import type { History, Refusal } from "../history.ts";

export type Outcome<T> =
  | { readonly answer: "acknowledged"; readonly value: T }
  | { readonly answer: "refused"; readonly refusal: Refusal }
  | { readonly answer: "unknown"; readonly refusal: Refusal };

/** After these the call may have had its effect, or may have it still. */
const unclear: ReadonlySet<Code> = new Set([
  Code.Unavailable,
  Code.DeadlineExceeded,
  Code.Canceled,
  Code.Aborted,
  Code.Internal,
  Code.Unknown,
  Code.DataLoss,
]);

/** Refusals that say nothing of the request itself: the same one may be granted later. */
const passing: ReadonlySet<string> = new Set([
  "OVERLOADED",
  "HASHING_BUSY",
  "TOO_MANY_ATTEMPTS",
  "SHUTTING_DOWN",
  "PLACEMENT_IN_PROGRESS",
  "TOKEN_INVALID",
  "TOKEN_MISSING",
]);

/** One call, and what its client knows of it afterwards. */
export async function ask<T>(history: History, rpc: string, call: () => Promise<T>): Promise<Outcome<T>> {
  const startedAt = performance.now();
  const outcome = await attempt(rpc, call);
  const name = `${rpc} ${outcome.answer}`;
  history.calls.set(name, (history.calls.get(name) ?? 0) + 1);
  if (outcome.answer !== "acknowledged") history.refusals.push(outcome.refusal);
  else history.latencies.push({ rpc, atMs: Date.now(), tookMs: performance.now() - startedAt });
  return outcome;
}

async function attempt<T>(rpc: string, call: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { answer: "acknowledged", value: await call() };
  } catch (thrown) {
    const refusal = refusalOf(rpc, thrown);
    const isUnclear = unclear.has(ConnectError.from(thrown).code) || passing.has(refusal.reason);
    return { answer: isUnclear ? "unknown" : "refused", refusal };
  }
}

export function refusalOf(rpc: string, thrown: unknown): Refusal {
  const error = ConnectError.from(thrown);
  const info = error.findDetails(ErrorInfoSchema)[0];
  const { rawMessage: message, metadata } = error;
  return {
    ...{ rpc, message },
    code: Code[error.code],
    reason: info?.reason ?? "",
    metadata: info?.metadata ?? {},
    // The headers of an answer, which an error that the client's transport made has none of.
    isFromServer: error.isWireError || !metadata.keys().next().done,
  };
}

/** The same call until its answer is definite, as every client of the system has to; at most `tries` times. */
export async function askUntilClear<T>(
  history: History,
  rpc: string,
  call: () => Promise<T>,
  patience: { readonly tries: number; readonly pauseMs: number; readonly signal: AbortSignal },
): Promise<Outcome<T>> {
  for (let attempt = 1; ; attempt += 1) {
    const outcome = await ask(history, rpc, call);
    if (outcome.answer !== "unknown" || attempt >= patience.tries || patience.signal.aborted) return outcome;
    await pause(patience.pauseMs * (0.5 + Math.random()), patience.signal);
  }
}

/** Ends early, without complaint, when the signal fires. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, Math.max(0, ms));
    signal.addEventListener("abort", done);
  });
}
