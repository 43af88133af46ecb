import type { Outbox } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { nodeRegistered, stateChanged } from "../directory/node-events.event.ts";
import {
  type Enrollment,
  insertEnrollmentHistory,
  insertNode,
  type KnownNode,
  lockKnownNode,
  updateEnrolledNode,
} from "./enrolled-nodes.store.ts";
import { spendJoinToken } from "./join-tokens.store.ts";

export type Enrolled = { readonly rowId: bigint } | { readonly refusal: "token" | "disqualified" };

/**
 * The token's use, the node and its event, in the caller's transaction. A refusal has written nothing, so it can be
 * returned out of the transaction. Call `recordNodeChanges` afterwards.
 */
export async function enrollInTransaction(
  deps: { readonly outbox: Outbox; readonly clock: Clock },
  tx: Transaction,
  token: { readonly joinTokenId: string; readonly secretHash: Uint8Array },
  enrollment: Enrollment,
): Promise<Enrolled> {
  const known = await lockKnownNode(tx, enrollment.nodeId);
  if (known?.state === "disqualified") return { refusal: "disqualified" };
  if (!(await spendJoinToken(tx, token, deps.clock.now()))) return { refusal: "token" };
  if (known !== undefined) return enrollAgain(deps, tx, known, enrollment);
  const rowId = await insertNode(tx, enrollment);
  if (rowId !== undefined) {
    await deps.outbox.append(tx, [nodeRegistered(enrollment, 1n, deps.clock)]);
    await insertEnrollmentHistory(tx, rowId, { previous: undefined, state: "in_service", evidence: "enrolled" });
    return { rowId };
  }
  // Enrolled by a concurrent call, whose commit the insert has waited for.
  const concurrent = await lockKnownNode(tx, enrollment.nodeId);
  if (concurrent === undefined) throw new Error("a node that exists cannot be read");
  return enrollAgain(deps, tx, concurrent, enrollment);
}

async function enrollAgain(
  deps: { readonly outbox: Outbox; readonly clock: Clock },
  tx: Transaction,
  known: KnownNode,
  enrollment: Enrollment,
): Promise<Enrolled> {
  const eventVersion = await updateEnrolledNode(tx, known, enrollment);
  const state = known.state === "deregistered" ? "in_service" : known.state;
  const evidence = "enrolled again with a join token";
  if (state !== known.state) {
    const change = {
      nodeId: enrollment.nodeId,
      previous: known.state,
      state,
      reason: evidence,
      maintenanceUntil: null,
      reputationScore: 0,
    };
    await deps.outbox.append(tx, stateChanged(change, eventVersion, deps.clock));
  }
  await insertEnrollmentHistory(tx, known.rowId, { previous: known.state, state, evidence });
  return { rowId: known.rowId };
}
