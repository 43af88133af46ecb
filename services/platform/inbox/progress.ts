/** Numbers of a stream, both ends included. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** How far a session has read its stream, by the stream's numbers. */
export interface Progress {
  /** A message that was delivered; to be told in the order of delivery. */
  take(sequence: number): void;
  /** Everything that was taken, up to this one, is applied or given up. */
  settle(upTo: number): void;
  /** Nothing up to here is left to read, whatever was delivered. */
  skipTo(sequence: number): void;
  readonly taken: number;
  /** Everything up to here is done with. */
  readonly settled: number;
  /** Numbers that deliveries have left out, lowest first, until it is known why. */
  readonly holes: readonly Span[];
  forgetHoles(count: number): void;
}

/** Begins behind what an earlier session has settled: a durable delivers some of that again. */
export function createProgress(readUpTo: number): Progress {
  let taken = readUpTo;
  let settled = readUpTo;
  const holes: Span[] = [];
  return {
    take: (sequence) => {
      if (sequence <= taken) return;
      if (sequence > taken + 1) holes.push({ from: taken + 1, to: sequence - 1 });
      taken = sequence;
    },
    settle: (upTo) => {
      settled = Math.max(settled, upTo);
    },
    skipTo: (sequence) => {
      taken = Math.max(taken, sequence);
      settled = Math.max(settled, sequence);
    },
    get taken() {
      return taken;
    },
    get settled() {
      // What may have been dropped unread stays in doubt, also for the next session.
      const [doubtful] = holes;
      return doubtful === undefined ? settled : Math.min(settled, doubtful.from - 1);
    },
    holes,
    forgetHoles: (count) => void holes.splice(0, count),
  };
}
