const MAX_SHARE = 0.3;
const MIN_NODES = 5;

/** What counts as at the same time. */
export const TOGETHER_MS = 3_600_000;

export interface Failing {
  /** Nodes that have fallen into probation, or were shut out, by bad evidence of the last hour. */
  readonly failing: number;
  /** Those, and all others that are neither shut out nor gone. */
  readonly nodes: number;
}

/**
 * Whether so many nodes fail at once that the fault is rather ours: more than 30 % and at least 5. Nodes fall step by step,
 * so those that are on their way are counted too, or a third would be gone before it shows.
 */
export function isMassFailure({ failing, nodes }: Failing): boolean {
  return failing >= MIN_NODES && failing > MAX_SHARE * nodes;
}

/** Shown in the node's history, in English. */
export function withheldBecause(disqualification: string, { failing, nodes }: Failing): string {
  return `not shut out, although ${disqualification}: ${failing} of ${nodes} nodes have failed within an hour`;
}
