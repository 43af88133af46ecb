export const thresholds = [80, 90, 100] as const;
export type Threshold = (typeof thresholds)[number];

/** A threshold is armed again once the use has fallen this many points below it. */
const REARM_POINTS = 5;

export interface Crossing {
  /** The highest threshold that is crossed and not re-armed, 0 for none: what the account remembers. */
  level: number;
  /** Thresholds that this change has crossed, lowest first: each is announced once. */
  crossed: readonly Threshold[];
}

const none: readonly Threshold[] = [];

/**
 * What a change of use or limit does to the thresholds. Crossed thresholds are always a prefix of 80, 90, 100, so the
 * highest one stands for all of them. Percentages are compared by multiplication: exact, and defined for a limit of 0.
 */
export function crossingOf(level: number, usedBytes: bigint, quotaBytes: bigint): Crossing {
  const crossed = thresholds.filter((percent) => percent > level && isReached(percent, usedBytes, quotaBytes));
  const highest = crossed.at(-1);
  if (highest !== undefined) return { level: highest, crossed };
  return { level: rearmed(level, usedBytes, quotaBytes), crossed: none };
}

export function crossedThresholds(level: number): readonly Threshold[] {
  return thresholds.filter((percent) => percent <= level);
}

function isReached(percent: number, usedBytes: bigint, quotaBytes: bigint): boolean {
  return usedBytes > 0n && usedBytes * 100n >= quotaBytes * BigInt(percent);
}

function rearmed(level: number, usedBytes: bigint, quotaBytes: bigint): number {
  const isKept = (percent: number) => usedBytes > 0n && usedBytes * 100n >= quotaBytes * BigInt(percent - REARM_POINTS);
  return thresholds.findLast((percent) => percent <= level && isKept(percent)) ?? 0;
}
