import { create } from "@bufbuild/protobuf";
import type { MethodImpl } from "@connectrpc/connect";
import {
  CreateJoinTokenResponseSchema,
  type EnrollmentService,
} from "#gen/decentrastore/node_registry/v1/enrollment_service_pb.ts";
import { userCallerOf } from "#platform/rpc/caller.ts";
import { fromDuration, toTimestamp } from "#platform/rpc/time.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { EnrollmentDeps } from "./enrollment-deps.ts";
import { issueJoinToken } from "./issue-join-token.worker.ts";

const DEFAULT_TTL_MS = 24 * 3_600_000;
const MAX_TTL_MS = 365 * 24 * 3_600_000;

export function createJoinToken(deps: EnrollmentDeps): MethodImpl<typeof EnrollmentService.method.createJoinToken> {
  return async (request, context) => {
    validate((check) => {
      check.int("max_uses", request.maxUses, { min: 0 });
      if (request.ttl !== undefined) check.durationPresent("ttl", request.ttl, { minMs: 1_000, maxMs: MAX_TTL_MS });
    });
    const token = await issueJoinToken(deps, {
      maxUses: request.maxUses,
      ttlMs: request.ttl === undefined ? DEFAULT_TTL_MS : fromDuration(request.ttl),
      createdBy: userCallerOf(context).userId,
    });
    return create(CreateJoinTokenResponseSchema, {
      joinToken: token.joinToken,
      joinTokenId: token.joinTokenId,
      expiresAt: toTimestamp(token.expiresAt),
    });
  };
}
