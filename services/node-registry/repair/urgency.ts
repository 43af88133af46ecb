import { quorumOf } from "../chunks/quorum.ts";

/** A chunk on the list of those with fewer live replicas than wanted, as the list orders it. */
export interface NeedyChunk {
  readonly chunkHash: string;
  readonly liveReplicas: number;
  readonly confirmedReplicas: number;
  readonly wantedReplicas: number;
}

/**
 * How many replicas to make now. What is confirmed counts also on nodes that are silent at the moment: most of them come
 * back, and those that stay away are counted as lost after a while. What is being fetched counts already, and so does what
 * a client may still be sending, unless replicas were lost down below the quorum: then nothing is waited for. (A chunk of
 * which more replicas are wanted than before is below its new quorum too, but what it lacks is all being sent.) A chunk
 * without a live replica cannot be copied from anywhere, however many are missing.
 */
export function missingReplicas(chunk: NeedyChunk, beingFetched: number, beingSent: number): number {
  const { liveReplicas, wantedReplicas } = chunk;
  if (liveReplicas <= 0) return 0;
  const isUrgent = liveReplicas < quorumOf(wantedReplicas) && liveReplicas + beingSent < wantedReplicas;
  return Math.max(0, wantedReplicas - chunk.confirmedReplicas - beingFetched - (isUrgent ? 0 : beingSent));
}

const MOST_DOUBLINGS = 7;

/** Exponential, so that hopeless chunks do not stand in the way of the others, and bounded, so that none is given up. */
export function pauseMs(baseMs: number, failures: number, random: () => number): number {
  return baseMs * 2 ** Math.min(failures, MOST_DOUBLINGS) * (0.75 + random() / 2);
}

/** A pause that lasts longer than any can was made by a clock that was wrong then, or is now: it does not count. */
export function isPausedUntil(untilMs: number, nowMs: number, baseMs: number): boolean {
  return untilMs > nowMs && untilMs - nowMs <= baseMs * 2 ** MOST_DOUBLINGS * 1.25;
}
