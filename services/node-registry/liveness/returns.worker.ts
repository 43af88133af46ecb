import type { Logger } from "#platform/log/logger.ts";
import { type Outbox, transact } from "#platform/outbox/outbox.ts";
import { isDatabaseUnavailable, isStatementTimeout } from "#platform/postgres/errors.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { NodeTable } from "../directory/node-table.ts";
import { changeLiveness } from "./change-liveness.worker.ts";
import { lockReturningLeases, selectNotOnline } from "./leases.store.ts";
import { backOnline } from "./liveness.ts";

const MAX_ROWS = 1_000;

export interface ReturnDeps {
  readonly pool: Pool;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly log: Logger;
  readonly view: NodeTable;
}

/** Nodes that were heard while they were not online. */
export interface Returns {
  add(rowId: bigint): void;
  /** Brings online whom it can; the others are tried again the next time. Never fails. */
  bring(): Promise<void>;
}

/**
 * Apart from the writing of heartbeats, which must not wait, nor fail, for a node that cannot be changed at the moment:
 * its lease is renewed by then, so nobody can call it silent meanwhile.
 */
export function createReturns(deps: ReturnDeps): Returns {
  const waiting = new Set<bigint>();
  return {
    add: (rowId) => {
      waiting.add(rowId);
    },
    bring: async () => {
      const rowIds = [...waiting].sort((a, b) => (a < b ? -1 : 1));
      waiting.clear();
      for (let start = 0; start < rowIds.length; start += MAX_ROWS) {
        for (const left of await bringOnline(deps, rowIds.slice(start, start + MAX_ROWS))) waiting.add(left);
      }
    },
  };
}

/** Answers those that are to be tried again. */
async function bringOnline(deps: ReturnDeps, rowIds: readonly bigint[]): Promise<readonly bigint[]> {
  try {
    const { records, left } = await transact(deps, async (tx) => {
      const leases = await lockReturningLeases(tx, rowIds);
      const locked = new Set(leases.map((lease) => lease.row_id));
      const left = await selectNotOnline(
        tx,
        rowIds.filter((rowId) => !locked.has(rowId)),
      );
      return { records: await changeLiveness(deps, tx, leases.map(backOnline)), left };
    });
    for (const record of records) deps.view.put(record);
    return left;
  } catch (error) {
    const isBusy = isDatabaseUnavailable(error) || isStatementTimeout(error);
    if (!isBusy && rowIds.length > 1) {
      const middle = Math.ceil(rowIds.length / 2);
      const first = await bringOnline(deps, rowIds.slice(0, middle));
      return [...first, ...(await bringOnline(deps, rowIds.slice(middle)))];
    }
    deps.log.error({ err: error, nodes: rowIds.length }, "nodes that were heard again cannot be brought online");
    // One that is refused by itself comes again with its next heartbeat.
    return isBusy ? rowIds : [];
  }
}
