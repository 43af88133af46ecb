import type { Transaction } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { Pair } from "../chunks/replicas.store.ts";
import { pairKey } from "../chunks/report-outcomes.ts";
import { addEvidence } from "../reputation/evidence.store.ts";
import { findChallenged } from "./challenges.store.ts";

/**
 * The honest word about a loss is evidence that costs nothing. Where the node has just been asked to prove the chunk the
 * word comes too late: the scheduler finds the challenge without a replica and counts it as failed.
 */
export async function recordReportedLosses(
  deps: { readonly clock: Clock },
  tx: Transaction,
  losses: readonly Pair[],
): Promise<void> {
  if (losses.length === 0) return;
  const challenged = new Set(
    (await findChallenged(tx, losses)).map(({ nodeRowId, chunkHash }) => pairKey(nodeRowId, chunkHash)),
  );
  const volunteered = losses.filter(({ nodeRowId, chunkHash }) => !challenged.has(pairKey(nodeRowId, chunkHash)));
  const occurredAt = deps.clock.now();
  await addEvidence(
    tx,
    volunteered.map(({ nodeRowId, chunkHash }) => ({
      nodeRowId,
      chunkHash,
      kind: "loss_reported",
      count: 1,
      occurredAt,
    })),
  );
}
