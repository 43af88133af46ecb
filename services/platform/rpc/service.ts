import type { DescService } from "@bufbuild/protobuf";
import { createServiceImplSpec, type ServiceImpl, type ServiceImplSpec } from "@connectrpc/connect";
import { assertAccessDeclared } from "./access.ts";

/** A service with its handlers, before any policy: what `serveService` takes. */
export interface RpcService {
  readonly service: DescService;
  readonly spec: ServiceImplSpec;
  /** Local names of methods that are logged only on error, when slow, or once in 1,000 calls. */
  readonly highRate: ReadonlySet<string>;
  /** The largest request message; the transport's default where undefined. */
  readonly readMaxBytes: number | undefined;
}

export interface ImplementOptions<S extends DescService> {
  readonly highRate?: readonly (keyof S["method"] & string)[];
  readonly readMaxBytes?: number;
}

/**
 * Binds handlers to their service; throws where an RPC of it declares no access. The same handlers serve Connect and
 * grpc-js. They get identity, deadline, error mapping, the log line and metrics from the policy around them.
 */
export function implement<S extends DescService>(
  service: S,
  impl: ServiceImpl<S>,
  options: ImplementOptions<S> = {},
): RpcService {
  assertAccessDeclared(service);
  // createServiceImplSpec takes a partial map; the full type above is what keeps an RPC from being forgotten.
  const handlers: Partial<ServiceImpl<S>> = impl;
  return {
    service,
    spec: createServiceImplSpec<S>(service, handlers),
    highRate: new Set(options.highRate ?? []),
    readMaxBytes: options.readMaxBytes,
  };
}
