import { create } from "@bufbuild/protobuf";
import { Code, type MethodImpl } from "@connectrpc/connect";
import {
  type EnrollmentService,
  RevokeJoinTokenResponseSchema,
} from "#gen/decentrastore/node_registry/v1/enrollment_service_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import { validate } from "#platform/rpc/validate.ts";
import { registryError } from "../errors.ts";
import type { EnrollmentDeps } from "./enrollment-deps.ts";
import { revokeJoinToken as revoke } from "./join-tokens.store.ts";

export function revokeJoinToken(deps: EnrollmentDeps): MethodImpl<typeof EnrollmentService.method.revokeJoinToken> {
  return async (request) => {
    validate((check) => check.text("join_token_id", request.joinTokenId, { min: 1, max: 64 }));
    const token = await revoke(deps.pool, request.joinTokenId, deps.clock.now());
    if (token === undefined) {
      throw registryError(Code.NotFound, "JOIN_TOKEN_NOT_FOUND", "no join token has this join_token_id");
    }
    return create(RevokeJoinTokenResponseSchema, {
      joinTokenId: request.joinTokenId,
      uses: token.uses,
      revokedAt: toTimestamp(token.revoked_at),
    });
  };
}
