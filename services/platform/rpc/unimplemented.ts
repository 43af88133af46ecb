import type { DescMethod } from "@bufbuild/protobuf";
import { Code, type MethodImpl } from "@connectrpc/connect";
import { RpcError } from "./errors.ts";

/** A handler for an RPC that the contract has and this version does not: UNIMPLEMENTED, after the access check. */
export function unimplemented<M extends DescMethod>(method: M): MethodImpl<M>;
export function unimplemented(method: DescMethod): () => never {
  return () => {
    throw new RpcError({
      code: Code.Unimplemented,
      reason: "NOT_IMPLEMENTED",
      message: `${method.parent.typeName}.${method.name} is not implemented in this version`,
    });
  };
}
