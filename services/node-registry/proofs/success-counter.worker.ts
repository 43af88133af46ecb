import type { Logger } from "#platform/log/logger.ts";
import { type Outbox, transact } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { addSuccesses } from "../reputation/evidence.store.ts";
import { dropOldStrikes } from "./due.store.ts";
import { takeOldVerdicts } from "./verdicts.store.ts";

const PAGE = 10_000;
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
      let logged = 0;
      for (let taken = PAGE; taken === PAGE && !signal.aborted; ) {
        const round = await countSuccesses(deps);
        taken = round.taken;
        logged += round.logged;
      }
      if (logged > 0) onLogged();
    } catch (error) {
      deps.log.warn({ err: error }, "successful proofs cannot be counted, trying again");
    }
  }
}

export async function countSuccesses(deps: SuccessCounterDeps): Promise<{ taken: number; logged: number }> {
  const now = deps.clock.now();
  return transact(deps, async (tx) => {
    const { taken, successes } = await takeOldVerdicts(tx, now.subtract({ milliseconds: deps.retentionMs }), PAGE);
    const logged = await addSuccesses(tx, successes, now);
    await dropOldStrikes(tx, now.subtract(STRIKE_LIFE));
    return { taken, logged: logged.length };
  });
}
