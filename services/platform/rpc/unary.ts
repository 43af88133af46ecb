import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import { failpoint } from "#platform/failpoints/failpoints.ts";
import { type Call, callIn } from "./call.ts";
import { CallContext } from "./call-context.ts";
import type { PolicyDeps } from "./policy-deps.ts";
import { deadlineExceeded, toRpcError } from "./to-rpc-error.ts";
import { runInCall } from "./trace.ts";

type Unary = (
  request: MessageShape<DescMessage>,
  context: HandlerContext,
) => Promise<MessageInitShape<DescMessage>> | MessageInitShape<DescMessage>;

/** Adds to a unary handler: the rule on its request, the deadline, error mapping, log line and metrics. */
export function policeUnary(handler: Unary, deps: PolicyDeps): Unary {
  return (request, context) => {
    const call = callIn(context);
    deps.calls.started(call);
    const budgetMs = Math.min(context.timeoutMs() ?? deps.unaryDeadlineMs, deps.maxUnaryDeadlineMs);
    const scoped = new CallContext(context, performance.now() + budgetMs);
    const fail = (error: unknown): never => {
      const mapped = toRpcError(error, scoped);
      deps.calls.finished(call, mapped);
      throw deps.toTransportError(mapped);
    };
    const succeed = (response: MessageInitShape<DescMessage>) => {
      deps.calls.finished(call);
      failpoint("rpc.before-answer");
      return response;
    };
    try {
      const refusal = call.policy.rule.admitsRequest(call.caller, request);
      if (refusal !== undefined) throw refusal;
      failpoint("rpc.received");
      const result = runInCall(call, () => handler(request, scoped));
      return isPromise(result)
        ? untilDeadline(result, { call, scoped, budgetMs, deps }).then(succeed, fail)
        : succeed(result);
    } catch (error) {
      return fail(error);
    }
  };
}

/**
 * The result, or DEADLINE_EXCEEDED when the time is over, also where the handler does not look at its signal. What it
 * does afterwards changes nothing for the client any more, but a failure of it is still logged.
 */
function untilDeadline<T>(
  result: Promise<T>,
  at: { call: Call; scoped: CallContext; budgetMs: number; deps: PolicyDeps },
): Promise<T> {
  return new Promise((resolve, reject) => {
    let isOver = false;
    const timer = setTimeout(() => {
      isOver = true;
      const error = deadlineExceeded();
      at.scoped.abort(error);
      reject(error);
    }, at.budgetMs);
    result.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error: unknown) => {
        clearTimeout(timer);
        if (isOver && isFailure(error, at.scoped)) at.deps.calls.late(at.call, error);
        reject(error);
      },
    );
  });
}

/** As opposed to a refusal, such as a wrong password, and to the end of a handler that looks at its signal. */
function isFailure(error: unknown, scoped: CallContext): boolean {
  return error !== scoped.signal.reason && toRpcError(error, scoped).cause !== undefined;
}

function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return value instanceof Promise;
}
