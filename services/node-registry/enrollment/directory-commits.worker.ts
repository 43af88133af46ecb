import { transact } from "#platform/outbox/outbox.ts";
import { isDatabaseUnavailable } from "#platform/postgres/errors.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import { overloaded } from "#platform/rpc/errors.ts";
import { createGroupCommit } from "../chunks/group-commit.ts";
import { recordNodeChanges } from "../directory/changes.store.ts";
import type { NodeRecord } from "../directory/node-record.ts";
import type { EnrollmentDeps } from "./enrollment-deps.ts";

const MAX_ITEMS = 200;
const MAX_WAITING = 5_000;

export type Committed<R> = R & { readonly record: NodeRecord | undefined };

/**
 * Lets nodes that enroll or renew at the same time share a transaction and its one wait for the directory's head: a crowd
 * then costs a transaction per 200 nodes. `write` answers one result per item; those with a row id get the node as it is
 * after the change, which is in the view before the answer.
 */
export function createDirectoryCommits<T, R extends { readonly rowId?: bigint }>(
  deps: EnrollmentDeps,
  write: (tx: Transaction, items: readonly T[]) => Promise<readonly R[]>,
): (item: T) => Promise<Committed<R>> {
  async function commit(items: readonly T[]): Promise<Committed<R>[]> {
    const { results, records } = await deps.writes.run(() =>
      transact(deps, async (tx) => {
        const results = await write(tx, items);
        const rowIds = new Set(results.flatMap(({ rowId }) => (rowId === undefined ? [] : [rowId])));
        return {
          results,
          records: await recordNodeChanges(
            tx,
            [...rowIds].sort((a, b) => (a < b ? -1 : 1)),
          ),
        };
      }),
    );
    const stored = new Map(records.map((record) => [record.rowId, deps.view.put(record)]));
    return results.map((result) => ({
      ...result,
      record: result.rowId === undefined ? undefined : stored.get(result.rowId),
    }));
  }

  const submit = createGroupCommit<T, Committed<R>>({
    maxItems: MAX_ITEMS,
    maxRunning: 1,
    maxWaiting: MAX_WAITING,
    commit,
    refusal: () => overloaded("too many nodes are enrolling or renewing, try again", 5_000),
    isWorthSplitting: (error) => !isDatabaseUnavailable(error),
  });
  return async (item) => {
    const [committed] = await submit([item]);
    if (committed === undefined) throw new Error("a commit of the directory has answered nothing");
    return committed;
  };
}
