import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { ContextValues, HandlerContext } from "@connectrpc/connect";

/**
 * The context a handler gets: the transport's, with a deadline of its own and a signal that the policy can abort. The
 * signal is made on first use, because an AbortController costs as much as a small unary call and few handlers ask.
 */
export class CallContext implements HandlerContext {
  readonly #parent: HandlerContext;
  readonly #deadlineMs: number | undefined;
  #controller: AbortController | undefined;
  #aborted: { readonly reason: unknown } | undefined;

  /** `deadlineMs` is on the clock of `performance.now()`. */
  constructor(parent: HandlerContext, deadlineMs: number | undefined) {
    this.#parent = parent;
    this.#deadlineMs = deadlineMs;
  }

  get method(): DescMethod {
    return this.#parent.method;
  }
  get service(): DescService {
    return this.#parent.service;
  }
  get requestMethod(): string {
    return this.#parent.requestMethod;
  }
  get requestHeader(): Headers {
    return this.#parent.requestHeader;
  }
  get responseHeader(): Headers {
    return this.#parent.responseHeader;
  }
  get responseTrailer(): Headers {
    return this.#parent.responseTrailer;
  }
  get protocolName(): string {
    return this.#parent.protocolName;
  }
  get values(): ContextValues {
    return this.#parent.values;
  }
  get url(): string {
    return this.#parent.url;
  }

  get signal(): AbortSignal {
    if (this.#controller !== undefined) return this.#controller.signal;
    const controller = new AbortController();
    this.#controller = controller;
    const parent = this.#parent.signal;
    if (this.#aborted !== undefined) controller.abort(this.#aborted.reason);
    else if (parent.aborted) controller.abort(parent.reason);
    else parent.addEventListener("abort", () => controller.abort(parent.reason), { once: true });
    return controller.signal;
  }

  timeoutMs = (): number | undefined =>
    this.#deadlineMs === undefined ? this.#parent.timeoutMs() : this.#deadlineMs - performance.now();

  abort(reason: unknown): void {
    this.#aborted ??= { reason };
    this.#controller?.abort(reason);
  }
}
