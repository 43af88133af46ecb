import type { DescMethod } from "@bufbuild/protobuf";
import { createContextKey, type HandlerContext } from "@connectrpc/connect";
import type { AccessRule } from "./access.ts";
import { anonymous, type Caller } from "./caller.ts";
import { type CallScope, traceIdOf } from "./trace.ts";

/** What the policy knows of a method. */
export interface MethodPolicy {
  readonly method: DescMethod;
  /** "decentrastore.auth.v1.AuthService/Login" */
  readonly name: string;
  readonly rule: AccessRule;
  readonly isHighRate: boolean;
}

/** One RPC on its way, from the moment its one message is here, or the headers of its stream, until its line is logged. */
export class Call implements CallScope {
  readonly policy: MethodPolicy;
  readonly context: HandlerContext;
  readonly startedMs: number;
  caller: Caller = anonymous;
  isStarted = false;
  isFinished = false;
  isSuccess = false;
  #traceId: string | undefined;

  constructor(policy: MethodPolicy, context: HandlerContext, startedMs: number) {
    this.policy = policy;
    this.context = context;
    this.startedMs = startedMs;
  }

  get traceId(): string {
    // Made on demand: reading headers costs more than a whole heartbeat, and most calls are neither logged nor published.
    this.#traceId ??= traceIdOf(this.context.requestHeader.get("traceparent"));
    return this.#traceId;
  }

  get signal(): AbortSignal {
    return this.context.signal;
  }

  timeoutMs(): number | undefined {
    return this.context.timeoutMs();
  }
}

const callKey = createContextKey<Call | undefined>(undefined, { description: "call" });

/** The call of a context, where one was admitted. */
export function callOf(values: HandlerContext["values"]): Call | undefined {
  return values.get(callKey);
}

export function callIn(context: HandlerContext): Call {
  const call = context.values.get(callKey);
  if (call === undefined) throw new Error(`${context.method.name} was reached around its admission`);
  return call;
}

export function rememberCall(context: HandlerContext, call: Call): void {
  context.values.set(callKey, call);
}
