import type { StreamScope } from "./stream-scope.ts";
import { abortErrorOf } from "./to-rpc-error.ts";

/**
 * The requests of a stream, as the handler sees them. When the call is aborted (client gone, server stopping) the read
 * that waits ends at once with that reason, which a plain `for await` hands on; messages that were read before are the
 * handler's to answer.
 */
export function guardRequests<T>(requests: AsyncIterable<T>, scope: StreamScope): AsyncIterable<T> {
  const inner = requests[Symbol.asyncIterator]();
  const { signal } = scope.context;
  let waiting: ((reason: unknown) => void) | undefined;
  signal.addEventListener("abort", () => waiting?.(abortErrorOf(signal.reason, scope.context)), { once: true });
  const next = (): Promise<IteratorResult<T, undefined>> => {
    if (signal.aborted) return Promise.reject(abortErrorOf(signal.reason, scope.context));
    return new Promise((resolve, reject) => {
      waiting = reject;
      inner.next().then((result) => {
        if (result.done) scope.isInputDone = true;
        resolve(result);
      }, reject);
    });
  };
  const finish = async (): Promise<IteratorResult<T, undefined>> => {
    await inner.return?.();
    return { done: true, value: undefined };
  };
  return { [Symbol.asyncIterator]: () => ({ next, return: finish }) };
}
