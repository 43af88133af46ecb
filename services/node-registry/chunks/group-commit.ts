export interface GroupCommitOptions<T, R> {
  /** Items of one transaction; a single caller may bring more. */
  readonly maxItems: number;
  /** Transactions at the same time: while one commits, the next one fills. */
  readonly maxRunning: number;
  /** Items that may wait; beyond them a caller is refused at once. */
  readonly maxWaiting: number;
  /** Commits the items of several callers together. Answers one result per item, in their order. */
  readonly commit: (items: readonly T[]) => Promise<readonly R[]>;
  readonly refusal: () => Error;
  /** Whether a failure can be the fault of one caller's items, so that the others deserve another try without them. */
  readonly isWorthSplitting: (error: unknown) => boolean;
}

interface Caller<T, R> {
  readonly items: readonly T[];
  readonly resolve: (results: readonly R[]) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Lets callers that come at the same time share a transaction: a commit costs the same for one row and for a thousand.
 * Nobody waits for company: the first caller starts at once, and those who come meanwhile form the next group.
 */
export function createGroupCommit<T, R>(
  options: GroupCommitOptions<T, R>,
): (items: readonly T[]) => Promise<readonly R[]> {
  const queue: Caller<T, R>[] = [];
  let waiting = 0;
  let running = 0;

  function pump(): void {
    while (running < options.maxRunning && queue.length > 0) {
      running += 1;
      void runGroup(takeGroup()).finally(() => {
        running -= 1;
        pump();
      });
    }
  }

  function takeGroup(): Caller<T, R>[] {
    let size = 0;
    let count = 0;
    for (const caller of queue) {
      if (count > 0 && size + caller.items.length > options.maxItems) break;
      size += caller.items.length;
      count += 1;
    }
    waiting -= size;
    return queue.splice(0, count);
  }

  async function runGroup(group: readonly Caller<T, R>[]): Promise<void> {
    try {
      const results = await options.commit(group.flatMap((caller) => caller.items));
      let offset = 0;
      for (const caller of group) {
        caller.resolve(results.slice(offset, offset + caller.items.length));
        offset += caller.items.length;
      }
    } catch (error) {
      if (group.length === 1 || !options.isWorthSplitting(error)) {
        for (const caller of group) caller.reject(error);
        return;
      }
      for (const caller of group) await runGroup([caller]);
    }
  }

  return (items) =>
    new Promise((resolve, reject) => {
      if (items.length === 0) {
        resolve([]);
      } else if (waiting > 0 && waiting + items.length > options.maxWaiting) {
        reject(options.refusal());
      } else {
        waiting += items.length;
        queue.push({ items, resolve, reject });
        pump();
      }
    });
}
