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
    ...(isWarmingUp(state) ? { warmingUpUntil: toTimestamp(state.warm_until) } : {}),
    ...(state.swept_at === null ? {} : { lastRoundAt: toTimestamp(state.swept_at) }),
  });
}

function isWarmingUp(state: SweepState): state is SweepState & { readonly warm_until: Temporal.Instant } {
  return state.warm_until !== null && Temporal.Instant.compare(state.warm_until, state.now) > 0;
}
