import { type Outbox, transact } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { recordNodeChanges } from "./changes.store.ts";
import type { NodeStateName } from "./network-view.ts";
import { stateChanged, stateEventCount } from "./node-events.event.ts";
import type { NodeRecord } from "./node-record.ts";
import { type LockedNode, lockNode, writeState } from "./node-state.store.ts";
import type { NodeTable } from "./node-table.ts";
import { selectNodeRecords } from "./nodes.store.ts";

export interface WantedState {
  readonly state: NodeStateName;
  /** With maintenance only. */
  readonly maintenanceUntil: Temporal.Instant | null;
  readonly reason: string;
  /** A user_id, "node" or "system". */
  readonly actor: string;
  /** Change it only where this holds under the lock. */
  readonly when?: (node: LockedNode) => boolean;
}

export type StateResult = NodeRecord | "unknown" | "conflict";

/**
 * State, history, events and directory revision in one transaction. A node that is already so is left as it is, without
 * a second event. Out of `deregistered` leads only a new enrollment: "conflict".
 */
export async function changeState(
  deps: { readonly pool: Pool; readonly outbox: Outbox; readonly clock: Clock; readonly view: NodeTable },
  nodeId: string,
  wanted: WantedState,
): Promise<StateResult> {
  const result = await transact(deps, async (tx): Promise<StateResult> => {
    const node = await lockNode(tx, nodeId);
    if (node === undefined) return "unknown";
    if (isAlready(node, wanted)) {
      const [record] = await selectNodeRecords(tx, [node.row_id]);
      return record ?? "unknown";
    }
    if (node.state === "deregistered" || wanted.when?.(node) === false) return "conflict";
    const events = stateEventCount(wanted.state);
    const version = await writeState(tx, node, { ...wanted, events });
    const change = {
      nodeId,
      previous: node.state,
      state: wanted.state,
      reason: wanted.reason,
      maintenanceUntil: wanted.maintenanceUntil,
      reputationScore: node.reputation_score,
    };
    await deps.outbox.append(tx, stateChanged(change, version, deps.clock));
    const [record] = await recordNodeChanges(tx, [node.row_id]);
    return record ?? "unknown";
  });
  if (typeof result !== "string") deps.view.put(result);
  return result;
}

function isAlready(node: LockedNode, wanted: WantedState): boolean {
  if (node.state !== wanted.state) return false;
  const [is, wants] = [node.maintenance_until, wanted.maintenanceUntil];
  return is === null || wants === null || Temporal.Instant.compare(is, wants) === 0;
}
