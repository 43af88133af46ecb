/**
 * A batch's place among those that one consumer writes at the same time. The effect of the next batch begins when this one
 * holds all the locks that it will ever want, and is committed only after this one: so a later batch may wait for an earlier
 * one, never the other way round, and what is committed is always a beginning of the stream.
 */
export interface Turn {
  /** To be called when nothing will be locked any more that another batch might hold. Without it the next one waits. */
  locked(): void;
  /** Resolves when the batch before has committed, and throws where it has not. Every batch is held up here at last. */
  predecessor(): Promise<void>;
}

/** The batch before did not commit at its first attempt; this one goes after it, by itself. */
export class OutOfTurnError extends Error {
  override readonly name = "OutOfTurnError";
}
