import type { MethodImpl } from "@connectrpc/connect";
import type { TokenService } from "#gen/decentrastore/auth/v1/token_service_pb.ts";
import type { Deps } from "../deps.ts";

export function getJsonWebKeySet(deps: Deps): MethodImpl<typeof TokenService.method.getJsonWebKeySet> {
  return () => ({ keys: deps.keyring.published().map((key) => ({ ...key })) });
}
