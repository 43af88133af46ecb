import { systemClock } from "#platform/time/clock.ts";

/** A process that is up. `exited` resolves with the reason once it has ended, asked or not. */
export interface Running {
  readonly pid: number;
  readonly exited: Promise<string>;
  stop(): Promise<void>;
}

export interface Supervised<P extends Running> {
  /** The process as it runs now, or the last one that did. */
  current(): P;
  stop(): Promise<void>;
}

export interface SuperviseOptions<P extends Running> {
  readonly name: string;
  readonly start: () => Promise<P>;
  /** Called after every start but the first, when the process is ready again. */
  readonly onRestarted: (process: P) => Promise<void>;
  readonly say: (line: string) => void;
  /** Once it fires nothing is started any more. */
  readonly signal: AbortSignal;
}

const restartDelayMs = 10;
const backoffMs = { first: 500, most: 15_000 };

/**
 * Keeps one process alive. A process that was ready and dies is started again at once (well under a second);
 * one that cannot get ready is tried again with doubling pauses, so that a broken set-up does not spin.
 * Resolves when the process is ready for the first time.
 */
export async function supervise<P extends Running>(options: SuperviseOptions<P>): Promise<Supervised<P>> {
  const stop = new AbortController();
  const stopping = AbortSignal.any([stop.signal, options.signal]);
  let current = await startUntilReady(options, stopping);

  const keepAlive = async (): Promise<void> => {
    while (!stopping.aborted) {
      const reason = await current.exited;
      if (stopping.aborted) return;
      options.say(`${options.name} ended (${reason}): starting it again`);
      await systemClock.sleep(restartDelayMs, stopping);
      if (stopping.aborted) return;
      current = await startUntilReady(options, stopping);
      if (stopping.aborted) return;
      options.say(`${options.name} is ready again (pid ${current.pid})`);
      await options.onRestarted(current).catch((error: unknown) => {
        options.say(`${options.name}: its restart could not be recorded: ${messageOf(error)}`);
      });
    }
  };
  const loop = keepAlive().catch((error: unknown) => {
    if (!stopping.aborted) options.say(`${options.name}: supervision ended: ${messageOf(error)}`);
  });

  return {
    current: () => current,
    stop: async () => {
      stop.abort();
      await current.stop();
      await loop;
      await current.stop(); // a restart that was under way when the stop came
    },
  };
}

async function startUntilReady<P extends Running>(options: SuperviseOptions<P>, signal: AbortSignal): Promise<P> {
  for (let delayMs = backoffMs.first; ; delayMs = Math.min(delayMs * 2, backoffMs.most)) {
    try {
      return await options.start();
    } catch (error) {
      if (signal.aborted) throw error;
      options.say(`${options.name} did not get ready, next try in ${delayMs / 1000} s: ${messageOf(error)}`);
      await systemClock.sleep(delayMs, signal);
      if (signal.aborted) throw error;
    }
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
