import type { StreamScope } from "./stream-scope.ts";
import { abortErrorOf, toRpcError } from "./to-rpc-error.ts";
import { runInCall } from "./trace.ts";

/**
 * The responses of a stream, as the transport pulls them: errors mapped, the end logged once. An aborted call is given
 * `streamGraceMs` to answer what it has read; then it is ended from outside, so that a handler that waits for something
 * else than its requests cannot hold up a stop.
 */
export class ResponseGuard<T> implements AsyncIterableIterator<T, undefined> {
  readonly #start: () => AsyncIterable<T>;
  readonly #scope: StreamScope;
  #inner: AsyncIterator<T> | undefined;
  #resolve: ((result: IteratorResult<T, undefined>) => void) | undefined;
  #waiting: ((reason: unknown) => void) | undefined;
  #isEnded = false;
  /** Why it was ended while the transport asked for nothing, because its client does not read. */
  #undelivered: { readonly error: unknown } | undefined;

  constructor(start: () => AsyncIterable<T>, scope: StreamScope) {
    this.#start = start;
    this.#scope = scope;
    const { signal } = scope.context;
    if (signal.aborted) this.#forceAfterGrace();
    else signal.addEventListener("abort", () => this.#forceAfterGrace(), { once: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#isEnded) return this.#afterEnd();
    const { signal } = this.#scope.context;
    if (signal.aborted) return Promise.reject(this.#endFromOutside(signal.reason));
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#waiting = reject;
      this.#pull().then(this.#onResult, this.#onError);
    });
  }

  // Fields and not closures, because these run for every message of a stream.
  #onResult = (result: IteratorResult<T>): void => {
    if (this.#isEnded) return;
    const { signal } = this.#scope.context;
    if (!result.done) this.#resolve?.(result);
    else if (signal.aborted && !this.#scope.isInputDone()) this.#waiting?.(this.#fail(signal.reason));
    else {
      this.#end();
      this.#resolve?.({ done: true, value: undefined });
    }
  };

  #onError = (error: unknown): void => {
    if (this.#isEnded) this.#reportLate(error);
    else this.#waiting?.(this.#fail(error));
  };

  /** The transport wants no more: the client is gone, or has cancelled. */
  async return(): Promise<IteratorResult<T, undefined>> {
    if (!this.#isEnded) this.#endFromOutside(this.#scope.context.signal.reason);
    return { done: true, value: undefined };
  }

  async throw(error: unknown): Promise<IteratorResult<T, undefined>> {
    if (!this.#isEnded) this.#endFromOutside(error);
    return { done: true, value: undefined };
  }

  #pull(): Promise<IteratorResult<T>> {
    try {
      return runInCall(this.#scope.call, this.#pullInCall);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  // Not a method: made once per stream instead of once per message.
  #pullInCall = (): Promise<IteratorResult<T>> => {
    this.#inner ??= this.#start()[Symbol.asyncIterator]();
    return this.#inner.next();
  };

  #afterEnd(): Promise<IteratorResult<T, undefined>> {
    const undelivered = this.#undelivered;
    this.#undelivered = undefined;
    return undelivered === undefined
      ? Promise.resolve({ done: true, value: undefined })
      : Promise.reject(undelivered.error);
  }

  #forceAfterGrace(): void {
    if (this.#isEnded) return;
    const { context, deps } = this.#scope;
    setTimeout(() => {
      if (this.#isEnded || this.#waiting === undefined) return;
      const error = this.#endFromOutside(context.signal.reason);
      this.#undelivered = { error };
      this.#waiting(error);
    }, deps.streamGraceMs).unref();
  }

  /** Ends the call, has the handler run its `finally` blocks, and gives the error for the transport. */
  #endFromOutside(reason: unknown): unknown {
    const { context } = this.#scope;
    const error = this.#fail(abortErrorOf(reason, context));
    context.abort(reason ?? error);
    const cleanup = this.#inner?.return?.();
    cleanup?.catch((failure: unknown) => this.#reportLate(failure));
    return error;
  }

  #fail(error: unknown): unknown {
    const { context, deps } = this.#scope;
    const mapped = toRpcError(error, context);
    this.#end(mapped);
    return deps.toTransportError(mapped);
  }

  #end(error?: ReturnType<typeof toRpcError>): void {
    this.#isEnded = true;
    const { call, context, deps } = this.#scope;
    deps.openStreams.delete(context);
    deps.calls.finished(call, error);
  }

  #reportLate(error: unknown): void {
    const { call, context, deps } = this.#scope;
    if (toRpcError(error, context).cause !== undefined) deps.calls.late(call, error);
  }
}
