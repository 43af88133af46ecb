import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { currentCall, currentTraceparent } from "#platform/rpc/trace.ts";
import { openHttp2Sessions } from "./http2-sessions.ts";
import { isWorthRepeating, serviceErrorOf, wasTokenRefused } from "./service-errors.ts";
import type { ServiceTokenSource } from "./service-token-source.ts";

export interface ServiceClientOptions<S extends DescService> {
  /** Such as http://127.0.0.1:7102. */
  readonly baseUrl: string;
  readonly tokens: ServiceTokenSource;
  /** For calls outside of an RPC, and the most that a call inside one may take. */
  readonly timeoutMs: number;
  /** Methods that may be sent again when it is unknown whether they arrived, because their key makes repeats harmless. */
  readonly idempotent?: readonly (keyof S["method"] & string)[];
}

const MAX_ATTEMPTS = 3;
const FIRST_PAUSE_MS = 50;
// Below this it is not worth while to try once more.
const MIN_BUDGET_MS = 100;

/**
 * A client for another service: Connect over h2c, with this service's token, the trace, and what is left of the deadline
 * of the RPC it is called from (`runDetached` for work that must outlive that).
 *
 * Errors: a service that is away, late or itself without a dependency is UNAVAILABLE / DEPENDENCY_UNAVAILABLE; answered
 * refusals are ConnectErrors, to be handed on with `passOn`. Only idempotent methods are repeated, twice at most.
 */
export function createServiceClient<S extends DescService>(
  service: S,
  options: ServiceClientOptions<S>,
): Client<S> & Disposable {
  const sessions = openHttp2Sessions(options.baseUrl, { pingIntervalMs: 30_000, pingTimeoutMs: 10_000 });
  const inner = createConnectTransport({ baseUrl: options.baseUrl, httpVersion: "2", sessionManager: sessions });
  const repeatable = new Set<string>(options.idempotent ?? []);
  const isRepeatable = (method: DescMethod) =>
    method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS || repeatable.has(method.localName);

  const transport: Transport = {
    unary: (method, signal, timeoutMs, header, input, values) =>
      attempt({ options, timeoutMs, signal, header, mayRepeat: isRepeatable(method) }, (headers, budgetMs) =>
        inner.unary(method, signal, budgetMs, headers, input, values),
      ),
    stream: (method, signal, timeoutMs, header, input, values) =>
      // A stream's deadline is the caller's affair; its messages cannot be sent a second time.
      attempt({ options, timeoutMs, signal, header, mayRepeat: false }, (headers) =>
        inner.stream(method, signal, timeoutMs, headers, input, values),
      ),
  };
  return Object.assign(createClient(service, transport), { [Symbol.dispose]: () => sessions[Symbol.dispose]() });
}

type HeaderInit = ConstructorParameters<typeof Headers>[0];

interface Attempt {
  readonly options: { readonly tokens: ServiceTokenSource; readonly timeoutMs: number };
  /** What the handler asked for, which overrides the deadline of its own call. */
  readonly timeoutMs: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly header: HeaderInit;
  readonly mayRepeat: boolean;
}

async function attempt<T>(
  { options, timeoutMs, signal, header, mayRepeat }: Attempt,
  send: (headers: Headers, budgetMs: number) => Promise<T>,
): Promise<T> {
  const inherited = currentCall()?.timeoutMs() ?? Number.POSITIVE_INFINITY;
  const endMs = performance.now() + (timeoutMs ?? Math.min(options.timeoutMs, inherited));
  let hasNewToken = false;
  for (let attemptNumber = 1; ; attemptNumber++) {
    const token = await options.tokens.token();
    const headers = headersFor(header, token);
    try {
      // The protocol's timeout header is a whole number.
      return await send(headers, Math.max(1, Math.floor(endMs - performance.now())));
    } catch (error) {
      const budgetMs = endMs - performance.now();
      const hasTime = budgetMs > MIN_BUDGET_MS && !(signal?.aborted ?? false);
      if (hasTime && wasTokenRefused(error) && !hasNewToken) {
        // Refused before anything was done, so that repeating is safe for every method.
        options.tokens.invalidate(token);
        hasNewToken = true;
        continue;
      }
      if (!hasTime || !mayRepeat || attemptNumber >= MAX_ATTEMPTS || !isWorthRepeating(error)) {
        throw serviceErrorOf(error, { signal, isInherited: inherited <= options.timeoutMs && budgetMs <= 0 });
      }
      await pause(FIRST_PAUSE_MS * 2 ** (attemptNumber - 1) * (0.5 + Math.random()));
    }
  }
}

function headersFor(header: HeaderInit, token: string): Headers {
  const headers = new Headers(header);
  headers.set("authorization", `Bearer ${token}`);
  const traceparent = currentTraceparent();
  if (traceparent !== undefined) headers.set("traceparent", traceparent);
  return headers;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
