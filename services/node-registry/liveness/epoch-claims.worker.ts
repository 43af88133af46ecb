import { isDatabaseUnavailable } from "#platform/postgres/errors.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { raiseEpochs } from "./leases.store.ts";

const MAX_ROWS = 500;

interface Claim {
  readonly rowId: bigint;
  readonly resolve: (epoch: bigint) => void;
  readonly reject: (reason: unknown) => void;
}

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
  const waiting: Claim[] = [];
  let isRunning = false;

  async function run(): Promise<void> {
    if (isRunning) return;
    isRunning = true;
    while (waiting.length > 0) {
      await raise(takeDistinct(waiting));
    }
    isRunning = false;
  }

  /** Halves of a batch that is refused are tried apart: nobody pays for another one's row. */
  async function raise(batch: readonly Claim[]): Promise<void> {
    try {
      const rowIds = batch.map((one) => one.rowId).sort((a, b) => (a < b ? -1 : 1));
      const epochs = await raiseEpochs(deps.pool, deps.instanceId, rowIds);
      for (const one of batch) {
        const epoch = epochs.get(one.rowId);
        if (epoch === undefined) one.reject(new Error(`node ${one.rowId} has no lease`));
        else one.resolve(epoch);
      }
    } catch (error) {
      if (batch.length === 1 || isDatabaseUnavailable(error)) {
        for (const one of batch) one.reject(error);
        return;
      }
      const middle = Math.ceil(batch.length / 2);
      await raise(batch.slice(0, middle));
      await raise(batch.slice(middle));
    }
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
