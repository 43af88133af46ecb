import { create } from "@bufbuild/protobuf";
import { type LivenessSweep, LivenessSweepSchema } from "#gen/decentrastore/node_registry/v1/network_stats_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { SweepState } from "./sweep.store.ts";
import type { LivenessTimes } from "./times.ts";

export function toProtoSweep(state: SweepState, times: LivenessTimes): LivenessSweep {
  const { halted_at: haltedAt } = state;
  return create(LivenessSweepSchema, {
    isStopped: haltedAt !== null,
    ...(haltedAt === null
      ? {}
      : {
          stoppedAt: toTimestamp(haltedAt),
          resumesAt: toTimestamp(haltedAt.add({ milliseconds: times.brakeMs })),
          overdueNodes: state.halted_nodes,
          onlineNodes: state.halted_of,
        }),
    ...(state.swept_at === null ? {} : { lastRoundAt: toTimestamp(state.swept_at) }),
  });
}
