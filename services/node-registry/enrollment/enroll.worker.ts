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
import { isJoinTokenUsable, spendJoinToken } from "./join-tokens.store.ts";

export type Enrolled = { readonly rowId: bigint } | { readonly refusal: "token" | "disqualified" };

/** The last use of a token went to somebody else between the look at it and the lock. */
export class TokenSpentError extends Error {
  override readonly name = "TokenSpentError";
}

/**
 * The node, its event and the token's use, in the caller's transaction. A refusal has written nothing, so it can be
 * returned out of the transaction; a TokenSpentError takes back what was. Call `recordNodeChanges` afterwards.
 *
 * A thousand nodes may join with one token: its row is locked last, so that they wait for each other only from there.
 */
export async function enrollInTransaction(
  deps: { readonly outbox: Outbox; readonly clock: Clock },
  tx: Transaction,
  token: { readonly joinTokenId: string; readonly secretHash: Uint8Array },
  enrollment: Enrollment,
): Promise<Enrolled> {
  const known = await lockKnownNode(tx, enrollment.nodeId);
  if (known?.state === "disqualified") return { refusal: "disqualified" };
  if (!(await isJoinTokenUsable(tx, token, deps.clock.now()))) return { refusal: "token" };
  const enrolled = await writeEnrollment(deps, tx, known, enrollment);
  if (!(await spendJoinToken(tx, token, deps.clock.now()))) throw new TokenSpentError();
  return enrolled;
}

async function writeEnrollment(
  deps: { readonly outbox: Outbox; readonly clock: Clock },
  tx: Transaction,
  known: KnownNode | undefined,
  enrollment: Enrollment,
): Promise<{ readonly rowId: bigint }> {
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
): Promise<{ readonly rowId: bigint }> {
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
