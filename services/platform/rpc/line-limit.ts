import type { Logger } from "#platform/log/logger.ts";

const WINDOW_MS = 1_000;
export const LINES_PER_WINDOW = 20;

/** What alike calls have in common. */
export interface LineKind {
  readonly rpc: string;
  /** The answer's, or LATE for what failed after it. */
  readonly code: string;
  readonly reason: string | undefined;
  /** The address that they come from. */
  readonly host: string;
}

/**
 * Gives whether a failed call gets a line of its own. Twenty of a kind do in each second; of the others one line says at
 * its end how many they were. A line costs 0.2 ms with its formatting and its write, and who opens 300 requests to break
 * them off would have 300 written in a row. The metrics count every call.
 */
export function createLineLimit(log: Logger): (kind: LineKind) => boolean {
  const counts = new Map<string, { readonly kind: LineKind; calls: number }>();
  const summarize = () => {
    for (const { kind, calls } of counts.values()) {
      if (calls > LINES_PER_WINDOW) log.info({ ...kind, calls: calls - LINES_PER_WINDOW }, "rpc, more of the same");
    }
    counts.clear();
  };
  return (kind) => {
    // Not unref'd: the last summary is written before the process ends.
    if (counts.size === 0) setTimeout(summarize, WINDOW_MS);
    const key = `${kind.rpc} ${kind.code} ${kind.reason} ${kind.host}`;
    const entry = counts.get(key) ?? { kind, calls: 0 };
    counts.set(key, entry);
    entry.calls += 1;
    return entry.calls <= LINES_PER_WINDOW;
  };
}
