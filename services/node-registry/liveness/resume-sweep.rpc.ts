import { create } from "@bufbuild/protobuf";
import type { MethodImpl } from "@connectrpc/connect";
import {
  type NodeDirectoryService,
  ResumeSweepResponseSchema,
} from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { userCallerOf } from "#platform/rpc/caller.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { insertSweepHistory, releaseSweep, selectSweepState } from "./sweep.store.ts";
import { toProtoSweep } from "./sweep-message.ts";
import { livenessTimes } from "./times.ts";

/** For one lease no mass failure stops the sweep again, so that what it kept can be taken down. */
export function resumeSweep(deps: Deps): MethodImpl<typeof NodeDirectoryService.method.resumeSweep> {
  const times = livenessTimes(deps.config.NODE_LEASE_TTL);
  return async (request, context) => {
    validate((check) => check.text("reason", request.reason, { min: 1, max: 500 }));
    const state = await deps.pool.transaction(async (tx) => {
      const before = await selectSweepState(tx);
      if (before.halted_at === null) return before;
      await releaseSweep(tx, times.leaseTtlMs);
      await insertSweepHistory(tx, userCallerOf(context).userId, "resumed by an admin", request.reason);
      return selectSweepState(tx);
    });
    return create(ResumeSweepResponseSchema, { sweep: toProtoSweep(state, times) });
  };
}
