import type { StreamScope } from "./stream-scope.ts";
import { abortErrorOf } from "./to-rpc-error.ts";

/** Requests of a transport that can end a waiting read by itself, which spares a wrapper around each message. */
export interface AbortableRequests<T> extends AsyncIterable<T> {
  abort(reason: unknown): void;
  /** Whether the client has sent all that it wanted to. */
  readonly isDone: boolean;
}

/**
 * The requests of a stream, as the handler sees them. When the call is aborted (client gone, server stopping) the read
 * that waits ends at once with that reason, which a plain `for await` hands on; messages that were read before are the
 * handler's to answer.
 */
export function guardRequests<T>(requests: AsyncIterable<T>, scope: StreamScope): AsyncIterable<T> {
  const { signal } = scope.context;
  const abortable = isAbortable(requests) ? requests : new GuardedRequests(requests);
  scope.isInputDone = () => abortable.isDone;
  const abort = () => abortable.abort(abortErrorOf(signal.reason, scope.context));
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort, { once: true });
  return abortable;
}

function isAbortable<T>(requests: AsyncIterable<T>): requests is AbortableRequests<T> {
  return "abort" in requests && typeof requests.abort === "function";
}

class GuardedRequests<T> implements AbortableRequests<T>, AsyncIterator<T, undefined> {
  readonly #inner: AsyncIterator<T>;
  #waiting: ((reason: unknown) => void) | undefined;
  #aborted: { readonly reason: unknown } | undefined;
  isDone = false;

  constructor(requests: AsyncIterable<T>) {
    this.#inner = requests[Symbol.asyncIterator]();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#aborted !== undefined) return Promise.reject(this.#aborted.reason);
    return new Promise((resolve, reject) => {
      this.#waiting = reject;
      this.#inner.next().then((result) => {
        if (result.done) this.isDone = true;
        resolve(result);
      }, reject);
    });
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    await this.#inner.return?.();
    return { done: true, value: undefined };
  }

  abort(reason: unknown): void {
    this.#aborted ??= { reason };
    this.#waiting?.(reason);
  }
}
