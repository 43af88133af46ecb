import type { Clock } from "#platform/time/clock.ts";

/** Named checks; one that throws or takes too long makes the service not ready. */
export type ReadinessChecks = Readonly<Record<string, () => Promise<unknown> | unknown>>;

export interface ReadinessState {
  readonly isReady: boolean;
  /** "ok", "failing" or "stopping", by check: nothing that a stranger should not read. */
  readonly checks: Readonly<Record<string, string>>;
}

export interface Readiness {
  state(): Promise<ReadinessState>;
  /** From now on not ready, whatever the checks say: the first step of a stop. */
  stop(): void;
}

const FRESH_MS = 500;
const CHECK_TIMEOUT_MS = 2_000;

/** Runs the checks when asked, at most once per half second, so that probes cannot become load. */
export function createReadiness(checks: ReadinessChecks, clock: Clock): Readiness {
  let latest: { state: ReadinessState; atMs: number } | undefined;
  let running: Promise<ReadinessState> | undefined;
  let isStopping = false;

  const run = async (): Promise<ReadinessState> => {
    const results = await Promise.all(
      Object.entries(checks).map(async ([name, check]) => [name, await passes(check, clock)]),
    );
    const state = { isReady: results.every(([, result]) => result === "ok"), checks: Object.fromEntries(results) };
    latest = { state, atMs: clock.monotonicMs() };
    return state;
  };

  return {
    stop: () => {
      isStopping = true;
    },
    state: async () => {
      if (isStopping) return { isReady: false, checks: { process: "stopping" } };
      if (latest !== undefined && clock.monotonicMs() - latest.atMs < FRESH_MS) return latest.state;
      running ??= run().finally(() => {
        running = undefined;
      });
      return running;
    },
  };
}

async function passes(check: () => Promise<unknown> | unknown, clock: Clock): Promise<"ok" | "failing"> {
  const done = new AbortController();
  const tooLate = clock.sleep(CHECK_TIMEOUT_MS, done.signal).then(() => "failing" as const);
  // The reason is not logged here: the pool and the broker client log their own troubles, a probe runs every few seconds.
  const result = Promise.resolve()
    .then(check)
    .then(
      () => "ok" as const,
      () => "failing" as const,
    );
  const first = await Promise.race([result, tooLate]);
  done.abort();
  return first;
}
