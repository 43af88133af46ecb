import type { Pool } from "#platform/postgres/pool.ts";
import { raiseEpochs } from "./leases.store.ts";

const MAX_ROWS = 500;

/** Raises epochs for new streams. */
export interface EpochClaims {
  /** The node's new epoch; streams of older ones are superseded from now on, on every replica. */
  claim(rowId: bigint): Promise<bigint>;
}

/**
 * Concurrent claims share a statement: while one is under way the next ones gather, so that 10,000 nodes that reconnect
 * at once cost a few dozen statements.
 */
export function createEpochClaims(deps: { readonly pool: Pool; readonly instanceId: string }): EpochClaims {
  const waiting: { rowId: bigint; resolve: (epoch: bigint) => void; reject: (reason: unknown) => void }[] = [];
  let isRunning = false;

  async function run(): Promise<void> {
    if (isRunning) return;
    isRunning = true;
    while (waiting.length > 0) {
      const batch = takeDistinct(waiting);
      try {
        const rowIds = batch.map((one) => one.rowId).sort((a, b) => (a < b ? -1 : 1));
        const epochs = await raiseEpochs(deps.pool, deps.instanceId, rowIds);
        for (const one of batch) {
          const epoch = epochs.get(one.rowId);
          if (epoch === undefined) one.reject(new Error(`node ${one.rowId} has no lease`));
          else one.resolve(epoch);
        }
      } catch (error) {
        for (const one of batch) one.reject(error);
      }
    }
    isRunning = false;
  }

  return {
    claim: (rowId) =>
      new Promise((resolve, reject) => {
        waiting.push({ rowId, resolve, reject });
        void run();
      }),
  };
}

/** Up to a batch from the front; a second claim for the same node waits for the next one, and gets the higher epoch. */
function takeDistinct<T extends { readonly rowId: bigint }>(waiting: T[]): T[] {
  const batch: T[] = [];
  const seen = new Set<bigint>();
  const rest: T[] = [];
  for (const one of waiting.splice(0)) {
    if (batch.length < MAX_ROWS && !seen.has(one.rowId)) {
      seen.add(one.rowId);
      batch.push(one);
    } else rest.push(one);
  }
  waiting.push(...rest);
  return batch;
}
