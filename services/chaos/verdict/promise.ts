import type { History } from "../history.ts";
import type { Observed } from "../observed.ts";

/** One promise of the design, and how this run judges it. */
export interface Promised {
  readonly number: number;
  readonly title: string;
  /** What was looked at, for the report: a promise that nothing tested must not look held. */
  evidence(history: History, observed: Observed): string;
  /** Everything that contradicts it; empty when it held. */
  problems(history: History, observed: Observed): string[];
}

export function countBy<T>(items: Iterable<T>, key: (item: T) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(key(item), (counts.get(key(item)) ?? 0) + 1);
  return counts;
}
