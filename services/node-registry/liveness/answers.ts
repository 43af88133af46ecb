import type { Clock } from "#platform/time/clock.ts";
import type { NodeRecord } from "../directory/node-record.ts";

/** For how long an answer is good for the next heartbeat of the same node as well: a flood is not encoded anew each time. */
const GOOD_MS = 5;

/** The answers to one node: the same object while nothing has changed and there is nothing to do. */
export interface Answers<T> {
  next(): T;
}

export function createAnswers<T extends { readonly commands: readonly unknown[] }>(
  clock: Clock,
  node: NodeRecord,
  make: () => T,
): Answers<T> {
  let madeAtMs = Number.NEGATIVE_INFINITY;
  let revision = -1n;
  let made: T | undefined;
  return {
    next: () => {
      const nowMs = clock.monotonicMs();
      const isGood = revision === node.revision && nowMs - madeAtMs < GOOD_MS;
      if (made !== undefined && isGood && made.commands.length === 0) return made;
      madeAtMs = nowMs;
      revision = node.revision;
      made = make();
      return made;
    },
  };
}
