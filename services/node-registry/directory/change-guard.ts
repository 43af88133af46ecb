const EVERY_MS = 10_000;

/** False above `burst` changes at once and one per ten seconds. */
export type ChangeGuard = (node: object, nowMs: number) => boolean;

/**
 * Counts how often a node itself changes what the directory says of it. Each time is a change for everybody, and of those
 * the last 100,000 are kept: a node that makes some all the time would take them from watchers that come back.
 */
export function createChangeGuard(burst: number): ChangeGuard {
  // By the view's entry and not by stream, which a node can open anew; nodes that never change anything have none.
  const budgets = new WeakMap<object, { tokens: number; refilledAtMs: number }>();
  return (node, nowMs) => {
    const known = budgets.get(node) ?? { tokens: burst, refilledAtMs: nowMs };
    const tokens = Math.min(burst, known.tokens + (nowMs - known.refilledAtMs) / EVERY_MS);
    const isAdmitted = tokens >= 1;
    budgets.set(node, { tokens: isAdmitted ? tokens - 1 : tokens, refilledAtMs: nowMs });
    return isAdmitted;
  };
}
