import type { Logger } from "#platform/log/logger.ts";
import { type Outbox, transact } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { addSuccesses } from "../reputation/evidence.store.ts";
import { dropOldStrikes } from "./due.store.ts";
import { takeOldVerdicts } from "./verdicts.store.ts";

const PAGE = 10_000;
const FIRST_ID = "00000000-0000-0000-0000-000000000000";
// A strike outlives its replica's release; nothing waits so long for a retry.
const STRIKE_LIFE = Temporal.Duration.from({ hours: 24 * 30 });

export interface SuccessCounterDeps {
  readonly pool: Pool;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly log: Logger;
  readonly retentionMs: number;
}

/**
 * Moves verdicts that nobody will ask about any more into the nodes' reputations: a node's successes of some minutes are
 * one entry, or one number. Taking out and counting are one transaction, so each success counts exactly once, whoever
 * dies. Processes that run it at the same time take different verdicts.
 */
export async function runSuccessCounter(
  deps: SuccessCounterDeps,
  onLogged: () => void,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    await deps.clock.sleep(deps.retentionMs / 5, signal);
    if (signal.aborted) return;
    try {
      if ((await countSuccesses(deps, signal)) > 0) onLogged();
    } catch (error) {
      deps.log.warn({ err: error }, "successful proofs cannot be counted, trying again");
    }
  }
}

/** All that are old enough, a page after the other; answers how many nodes got an entry. */
export async function countSuccesses(deps: SuccessCounterDeps, signal?: AbortSignal): Promise<number> {
  const now = deps.clock.now();
  const decidedBefore = now.subtract({ milliseconds: deps.retentionMs });
  await deps.pool.transaction((tx) => dropOldStrikes(tx, now.subtract(STRIKE_LIFE)));
  let logged = 0;
  // What was answered late stays among those that are old enough, and must not end the search.
  for (let from: string | undefined = FIRST_ID; from !== undefined && !signal?.aborted; ) {
    const start: string = from;
    const page = await transact(deps, async (tx) => {
      const { successes, next } = await takeOldVerdicts(tx, decidedBefore, { from: start, limit: PAGE });
      return { next, logged: (await addSuccesses(tx, successes, now)).length };
    });
    logged += page.logged;
    from = page.next;
  }
  return logged;
}
