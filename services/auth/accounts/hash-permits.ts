import type { Clock } from "#platform/time/clock.ts";
import { createTurns } from "../throttle/turns.ts";

/** Runs one hash with a permit. */
export type WithPermit = <T>(hash: () => Promise<T>) => Promise<T>;

export interface HashPermits {
  /**
   * Runs `work`, first come first served, and hands it the way to a permit. Two more than there are permits are let in,
   * so that one who asks the database what it may do keeps no core waiting for the next hash. Whatever strangers can ask
   * for without credentials does so in here: a flood of it waits at the door and leaves the database to the others.
   *
   * The permit belongs to the hash: a caller who is gone meanwhile does not make room while libuv still works for it.
   * One who is gone while waiting leaves the queue.
   *
   * @throws BusyError, or the reason of `signal`.
   */
  run<T>(work: (withPermit: WithPermit) => Promise<T>, signal?: AbortSignal): Promise<T>;
  state(): { readonly hashing: number; readonly admitted: number; readonly waiting: number };
}

export interface HashPermitOptions {
  readonly permits: number;
  readonly maxWaiting: number;
  readonly deadlineMs: number;
  readonly clock: Clock;
  /** Tells how long each piece of work waited to be let in, in seconds. */
  readonly onWaited?: (seconds: number) => void;
  /** Tells how long each hash held its permit, in seconds. */
  readonly onHashed?: (seconds: number) => void;
}

/** Those who are let in without a permit of their own yet. */
const AHEAD = 2;

export function createHashPermits(options: HashPermitOptions): HashPermits {
  const { clock, onWaited, onHashed, deadlineMs } = options;
  const door = createTurns(options.permits + AHEAD, { ...options, deadlineMs });
  // Nobody waits long behind at most two others, so there is nothing to bound.
  const hashes = createTurns(options.permits, { clock, maxWaiting: Number.POSITIVE_INFINITY });
  const withPermit: WithPermit = (hash) =>
    hashes.take(async () => {
      const startedMs = clock.monotonicMs();
      try {
        return await hash();
      } finally {
        onHashed?.((clock.monotonicMs() - startedMs) / 1_000);
      }
    });
  return {
    state: () => ({ hashing: hashes.taken(), admitted: door.taken(), waiting: door.waiting() }),
    run: async (work, signal) => {
      signal?.throwIfAborted();
      const startedMs = clock.monotonicMs();
      return await door.take(() => {
        onWaited?.((clock.monotonicMs() - startedMs) / 1_000);
        return work(withPermit);
      }, signal);
    },
  };
}
