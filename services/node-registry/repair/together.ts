// When more of the network than this is silent at once, the network is more likely to be cut than the nodes to be gone.
const MAX_SILENT_SHARE = 0.3;
const MIN_SILENT_NODES = 5;

/** Nodes that are to serve, and since when some of them are silent. */
export interface Silence {
  /** Those that are heard. */
  readonly heard: number;
  /** Instants in ms, ascending. */
  readonly silentSinceMs: readonly number[];
}

/**
 * Whether so many fell silent together with the one that did at `sinceMs`, give or take `windowMs`, that the fault is rather
 * ours. Nodes that left one after the other, over months, are no cut, however many they have become.
 */
export function isCut({ heard, silentSinceMs }: Silence, sinceMs: number, windowMs: number): boolean {
  const together = countBefore(silentSinceMs, sinceMs + windowMs + 1) - countBefore(silentSinceMs, sinceMs - windowMs);
  return together >= MIN_SILENT_NODES && together > MAX_SILENT_SHARE * (heard + together);
}

/** How many of the sorted numbers are below the limit. */
function countBefore(sorted: readonly number[], limit: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? limit) < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
