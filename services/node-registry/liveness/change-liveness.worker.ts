import type { Outbox } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { recordNodeChanges } from "../directory/changes.store.ts";
import type { NodeRecord } from "../directory/node-record.ts";
import { writeLiveness } from "./liveness.store.ts";
import type { LivenessChange } from "./liveness.ts";
import { livenessChanged } from "./liveness-changed.event.ts";

/**
 * Liveness, history, event and directory revision in the caller's transaction, which holds the leases' locks. `changes`
 * sorted by row id. Answers the nodes as they are now, for the view after the commit.
 */
export async function changeLiveness(
  deps: { readonly outbox: Outbox; readonly clock: Clock },
  tx: Transaction,
  changes: readonly LivenessChange[],
): Promise<NodeRecord[]> {
  if (changes.length === 0) return [];
  const versions = await writeLiveness(tx, changes);
  const events = changes.map((change) => livenessChanged(change, versions.get(change.rowId) ?? 0n, deps.clock));
  await deps.outbox.append(tx, events);
  return recordNodeChanges(
    tx,
    changes.map((change) => change.rowId),
  );
}
