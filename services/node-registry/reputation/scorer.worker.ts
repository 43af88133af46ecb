import type { Logger } from "#platform/log/logger.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import { type Outbox, transact } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { NodeTable } from "../directory/node-table.ts";
import type { ReputationRules } from "./reputation-config.ts";
import { scoreNodes } from "./score-nodes.worker.ts";
import { lockPending, markOtherFormulas } from "./standings.store.ts";

const TICK_MS = 250;
const PAGE = 500;
const LOGGED_NODES = 20;

export interface ScorerDeps {
  readonly pool: Pool;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly view: NodeTable;
  readonly rules: ReputationRules;
}

export interface Scorer extends AsyncDisposable {
  /** Scores now: after a commit of new evidence, so that placement knows within a moment. */
  wake(): void;
}

/**
 * Turns new evidence into scores, many nodes in one transaction; however many entries a node gets meanwhile, it changes
 * once. Any number of processes may run it: each takes nodes that no other one holds. PostgreSQL's absence delays it.
 */
export function startScorer(deps: ScorerDeps): Scorer {
  const stop = new AbortController();
  const wakes = { up: new AbortController() };
  withheldCounter(deps.metrics); // shown as 0 before it is ever needed
  let isChecked = false;

  async function run(): Promise<void> {
    while (!stop.signal.aborted) {
      wakes.up = new AbortController();
      try {
        if (!isChecked) await markOtherFormulas(deps.pool, deps.rules.formula.name);
        isChecked = true;
        while ((await scorePending(deps)) === PAGE && !stop.signal.aborted);
      } catch (error) {
        deps.log.warn({ err: error }, "reputations cannot be computed, trying again");
      }
      await deps.clock.sleep(TICK_MS, AbortSignal.any([stop.signal, wakes.up.signal]));
    }
  }

  const running = run();
  return {
    wake: () => wakes.up.abort(),
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
}

/** One page; answers how many nodes it scored. */
export async function scorePending(deps: ScorerDeps): Promise<number> {
  const { count, records, withheld } = await transact(deps, async (tx) => {
    const stored = await lockPending(tx, PAGE);
    return { count: stored.length, ...(await scoreNodes(deps, tx, stored)) };
  });
  if (withheld !== undefined) {
    const { nodeIds, ...found } = withheld;
    withheldCounter(deps.metrics).inc(nodeIds.length);
    // Nothing ends this by itself while they go on failing: whether they cheat or the fault is ours, a human must tell.
    deps.log.error(
      { ...found, withheldNodes: nodeIds.length, nodeIds: nodeIds.slice(0, LOGGED_NODES) },
      "too many nodes fail at once: nobody is disqualified; if the fault is theirs, shut them out by SetNodeState",
    );
  }
  for (const record of records) deps.view.put(record);
  return count;
}

function withheldCounter(metrics: Metrics) {
  return metrics.counter({
    name: "disqualifications_withheld_total",
    help: "Times that a node was not disqualified because too many failed at once.",
  });
}
