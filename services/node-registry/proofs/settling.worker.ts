import { transact } from "#platform/outbox/outbox.ts";
import { isDatabaseDown, isIntegrityViolation } from "#platform/postgres/errors.ts";
import { overloaded } from "#platform/rpc/errors.ts";
import { createGroupCommit } from "../chunks/group-commit.ts";
import type { ProofDeps } from "./proof-deps.ts";
import { type Decision, recordOutcomes, type Settlement } from "./record-outcomes.worker.ts";

const MAX_WAITING = 20_000;

/**
 * Answers that come at the same time, and misses that are found meanwhile, share a transaction. A challenge leaves the
 * board when its verdict is committed; whoever wakes the scorer does it after that. Where the database is away nothing is
 * decided, and the time until it is back counts against nobody.
 */
export function createSettling(
  deps: Omit<ProofDeps, "settle">,
  onFailures: () => void,
): (decisions: readonly Decision[]) => Promise<readonly Settlement[]> {
  const verdicts = deps.metrics.counter({
    name: "proof_verdicts_total",
    help: "Challenges settled, by outcome; unknown: withdrawn, or not this node's.",
    labels: ["outcome"],
  });
  const commit = createGroupCommit<Decision, Settlement>({
    maxItems: 1_000,
    maxRunning: 2,
    maxWaiting: MAX_WAITING,
    commit: async (decisions) => {
      const settlements = await transact(deps, (tx) => recordOutcomes(deps, tx, decisions));
      for (const [index, { commandId, nodeRowId }] of decisions.entries()) {
        const settlement = settlements[index] ?? "unknown";
        verdicts.inc({ outcome: settlement });
        // What another node asks about stays open for its own.
        if (settlement !== "unknown" || deps.board.find(commandId)?.nodeRowId === nodeRowId)
          deps.board.remove(commandId);
      }
      if (settlements.some((settlement) => settlement !== "proved")) onFailures();
      return settlements;
    },
    refusal: () => overloaded("too many storage proofs are waiting, try again", 500),
    isWorthSplitting: (error) => !isDatabaseDown(error),
  });
  return async (decisions) => {
    try {
      return await commit(decisions);
    } catch (error) {
      // What the database refuses it refuses every time: that must not keep the windows of all others from ending.
      if (isIntegrityViolation(error)) for (const { commandId } of decisions) deps.board.startAnew(commandId);
      else deps.reception.broken();
      throw error;
    }
  };
}
