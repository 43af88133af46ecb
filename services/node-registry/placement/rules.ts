import { PlacementRule } from "#gen/decentrastore/node_registry/v1/placement_pb.ts";
import type { SoftRule } from "./draw.ts";
import type { HardRule } from "./scoring.ts";

const RULES: Record<SoftRule, PlacementRule> = {
  different_subnets: PlacementRule.DIFFERENT_SUBNETS,
  different_regions: PlacementRule.DIFFERENT_REGIONS,
  probation_share: PlacementRule.PROBATION_SHARE,
};

export function toProtoRules(relaxed: ReadonlySet<SoftRule>): PlacementRule[] {
  return [...relaxed].map((rule) => RULES[rule]).sort((a, b) => a - b);
}

const HARD_RULES: Record<HardRule, PlacementRule> = {
  not_in_service: PlacementRule.IN_SERVICE,
  not_online: PlacementRule.ONLINE,
  not_enough_space: PlacementRule.FREE_SPACE,
};

export function toProtoHardRules(broken: readonly HardRule[]): PlacementRule[] {
  return broken.map((rule) => HARD_RULES[rule]);
}
