import type { Logger } from "#platform/log/logger.ts";
import { isDatabaseDown } from "#platform/postgres/errors.ts";

/**
 * Works on each item although another one fails: one that never succeeds, whatever the reason, must not hold up all the
 * rest. Failures are logged, and tried again by the next round. Answers how many succeeded. Only where the database is
 * away the round ends.
 */
export async function oneByOne<T>(
  deps: { readonly log: Logger },
  items: Iterable<T>,
  work: (item: T) => Promise<unknown>,
  {
    signal,
    nameOf = String,
  }: { readonly signal?: AbortSignal | undefined; readonly nameOf?: (item: T) => string } = {},
): Promise<number> {
  let succeeded = 0;
  for (const item of items) {
    if (signal?.aborted) break;
    try {
      await work(item);
      succeeded += 1;
    } catch (error) {
      if (isDatabaseDown(error)) throw error;
      deps.log.error(
        { err: error, item: nameOf(item) },
        "a part of a round of the chunk workers failed, the rest goes on",
      );
    }
  }
  return succeeded;
}

/**
 * Works on all items together, in one transaction; where that fails, on each by itself as `oneByOne` does, so that the
 * one that fails every time costs the others nothing but a second try.
 */
export async function togetherOrOneByOne<T>(
  deps: { readonly log: Logger },
  items: readonly T[],
  work: (items: readonly T[]) => Promise<unknown>,
  nameOf: (item: T) => string,
): Promise<void> {
  if (items.length === 0) return;
  try {
    await work(items);
  } catch (error) {
    if (isDatabaseDown(error)) throw error;
    await oneByOne(deps, items, (item) => work([item]), { nameOf });
  }
}
