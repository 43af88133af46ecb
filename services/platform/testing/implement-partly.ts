import type { DescService } from "@bufbuild/protobuf";
import { createServiceImplSpec, type ServiceImpl } from "@connectrpc/connect";
import type { RpcService } from "#platform/rpc/service.ts";

/** A service with some of its handlers, for tests of what stands around handlers; the others are UNIMPLEMENTED. */
export function implementPartly<S extends DescService>(
  service: S,
  impl: Partial<ServiceImpl<S>>,
  options: { highRate?: readonly string[]; readMaxBytes?: number } = {},
): RpcService {
  return {
    service,
    spec: createServiceImplSpec<S>(service, impl),
    highRate: new Set(options.highRate ?? []),
    readMaxBytes: options.readMaxBytes,
  };
}
