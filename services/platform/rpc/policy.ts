import type { DescMethod } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type HandlerContext,
  type MethodImplSpec,
  type ServiceImplSpec,
} from "@connectrpc/connect";
import type { Logger } from "#platform/log/logger.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import type { Clock } from "#platform/time/clock.ts";
import { accessRuleOf } from "./access.ts";
import { Call, type MethodPolicy, rememberCall } from "./call.ts";
import { createCallLog } from "./call-log.ts";
import { type Caller, callerKey } from "./caller.ts";
import { internalError, RpcError } from "./errors.ts";
import type { InFlight } from "./in-flight.ts";
import type { PolicyDeps } from "./policy-deps.ts";
import type { RpcService } from "./service.ts";
import { stoppingError } from "./stream-scope.ts";
import { policeBidiStreaming, policeClientStreaming, policeServerStreaming } from "./streaming.ts";
import { toRpcError } from "./to-rpc-error.ts";
import { policeUnary } from "./unary.ts";

export interface PolicyOptions {
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly clock: Clock;
  /** Shared by the ports of a service. */
  readonly inFlight: InFlight;
  /** Who calls; throws an RpcError for bad credentials. Not asked for PUBLIC RPCs. */
  readonly identify: (context: HandlerContext) => Caller | Promise<Caller>;
  /** Turns the mapped error into what the transport throws or sends. */
  readonly toTransportError: (error: RpcError) => unknown;
  /** When aborted, every open stream ends with UNAVAILABLE; unary calls go on to their end. */
  readonly stopping: AbortSignal;
  /** For unary calls whose client sets no deadline. Streams have none. */
  readonly unaryDeadlineMs?: number;
  /** How long an aborted stream may go on answering what it has read. */
  readonly streamGraceMs?: number;
}

export interface PolicedService {
  readonly service: RpcService["service"];
  readonly readMaxBytes: number | undefined;
  /** For transports to count a request that is on its way, before it is a call. */
  readonly inFlight: InFlight;
  /** The handlers with the policy around them; they refuse contexts that `admit` has not seen. */
  readonly spec: ServiceImplSpec;
  /** Identity and access, before the message is unpacked and parsed. Throws what the transport sends, and has logged it. */
  admit(context: HandlerContext): void | Promise<void>;
  /** Called by transports when a call is over: logs what they refused by themselves, of the request or of the response. */
  ended(call: Call, error: unknown): void;
}

const UNARY_DEADLINE_MS = 30_000;
// A client may ask for more than the default, but not keep a handler for a day.
const MAX_UNARY_DEADLINE_MS = 600_000;
const STREAM_GRACE_MS = 1_000;

/**
 * What stands around every handler, in this order: identity, access, deadline, the handler, error mapping, the log line
 * and metrics. These are wrappers and not Connect interceptors, so that grpc-js calls go through the same code.
 */
export function createPolicy(options: PolicyOptions): (service: RpcService) => PolicedService {
  const { clock, inFlight, stopping } = options;
  const deps: PolicyDeps = {
    calls: createCallLog(options),
    toTransportError: options.toTransportError,
    unaryDeadlineMs: options.unaryDeadlineMs ?? UNARY_DEADLINE_MS,
    maxUnaryDeadlineMs: MAX_UNARY_DEADLINE_MS,
    streamGraceMs: options.streamGraceMs ?? STREAM_GRACE_MS,
    stopping,
    openStreams: new Set(),
  };
  stopping.addEventListener("abort", () => {
    for (const context of deps.openStreams) context.abort(stoppingError());
  });

  return (service) => {
    const policies = new Map<DescMethod, MethodPolicy>();
    const methods: ServiceImplSpec["methods"] = {};
    for (const [localName, spec] of Object.entries(service.spec.methods)) {
      const isHighRate = service.highRate.has(localName);
      policies.set(spec.method, policyOf(spec.method, isHighRate));
      methods[localName] = police(spec, deps);
    }
    const admit = (context: HandlerContext) => {
      const policy = policies.get(context.method);
      if (policy === undefined)
        throw new Error(`${context.method.name} is not a method of ${service.service.typeName}`);
      const call = new Call(policy, context, clock.monotonicMs());
      rememberCall(context, call);
      deps.calls.begun();
      return admitCall(call, options, deps);
    };
    const ended = (call: Call, error: unknown) => {
      if (!call.isStarted) deps.calls.finished(call, stackErrorOf(error));
      // The handler was done and its response does not fit its message: the client got an error that nobody has logged.
      else if (call.isSuccess && isInternal(error)) deps.calls.late(call, error);
    };
    const spec = { service: service.service, methods };
    return { service: service.service, readMaxBytes: service.readMaxBytes, inFlight, spec, admit, ended };
  };
}

function policyOf(method: DescMethod, isHighRate: boolean): MethodPolicy {
  return { method, name: `${method.parent.typeName}/${method.name}`, rule: accessRuleOf(method), isHighRate };
}

function admitCall(call: Call, options: PolicyOptions, deps: PolicyDeps): void | Promise<void> {
  const { rule } = call.policy;
  if (rule.isPublic) return;
  const refuse = (error: unknown): never => {
    const mapped = toRpcError(error, call);
    deps.calls.finished(call, mapped);
    throw deps.toTransportError(mapped);
  };
  const accept = (caller: Caller): void => {
    call.caller = caller;
    call.context.values.set(callerKey, caller);
    const refusal = rule.admits(caller);
    if (refusal !== undefined) refuse(refusal);
  };
  let identified: Caller | Promise<Caller>;
  try {
    identified = options.identify(call.context);
  } catch (error) {
    return refuse(error);
  }
  return identified instanceof Promise ? identified.then(accept, refuse) : accept(identified);
}

function police(spec: MethodImplSpec, deps: PolicyDeps): MethodImplSpec {
  switch (spec.kind) {
    case "unary":
      return { ...spec, impl: policeUnary(spec.impl, deps) };
    case "server_streaming":
      return { ...spec, impl: policeServerStreaming(spec.impl, deps) };
    case "client_streaming":
      return { ...spec, impl: policeClientStreaming(spec.impl, deps) };
    case "bidi_streaming":
      return { ...spec, impl: policeBidiStreaming(spec.impl, deps) };
  }
}

function stackErrorOf(error: unknown): RpcError {
  if (!(error instanceof ConnectError)) return error instanceof RpcError ? error : internalError(error);
  return new RpcError({ code: error.code, message: error.rawMessage });
}

function isInternal(error: unknown): boolean {
  return error instanceof ConnectError && error.code === Code.Internal;
}
