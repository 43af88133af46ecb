/** What one heartbeat says about the node. */
export interface BeatFigures {
  readonly sequence: bigint;
  readonly usedBytes: bigint;
  readonly freeBytes: bigint;
  readonly chunkCount: bigint;
  readonly chunkDigest?: Uint8Array | undefined;
}

/** The heartbeats of one node since the last flush, folded into one write. */
export interface FoldedBeat {
  /** How many heartbeats. */
  count: number;
  /** When the last one came, on the monotonic clock. */
  receivedAtMs: number;
  /** Of the last one whose figures count. */
  figures: BeatFigures;
  /** Whether one of them had sequence 1: the figures then count whatever the stored sequence is. */
  isRestarted: boolean;
}

export function newBeat(figures: BeatFigures, receivedAtMs: number): FoldedBeat {
  return { count: 1, receivedAtMs, figures, isRestarted: figures.sequence === 1n };
}

/** Every heartbeat renews the lease; its figures count where the sequence says so: 1 restarts, otherwise only upwards. */
export function foldBeat(folded: FoldedBeat, figures: BeatFigures, receivedAtMs: number): void {
  folded.count += 1;
  if (receivedAtMs > folded.receivedAtMs) folded.receivedAtMs = receivedAtMs;
  if (figures.sequence === 1n) folded.isRestarted = true;
  else if (figures.sequence <= folded.figures.sequence) return;
  folded.figures = figures;
}

/** Puts a write that failed back before what has come since. */
export function mergeBeats(earlier: FoldedBeat, later: FoldedBeat | undefined): FoldedBeat {
  if (later === undefined) return earlier;
  const laterCounts = later.isRestarted || later.figures.sequence > earlier.figures.sequence;
  return {
    count: earlier.count + later.count,
    receivedAtMs: Math.max(earlier.receivedAtMs, later.receivedAtMs),
    figures: laterCounts ? later.figures : earlier.figures,
    isRestarted: earlier.isRestarted || later.isRestarted,
  };
}
