import type { Pools } from "./pools.ts";

const MAX_REBUILDS = 20;

/** The pools of one call, which places chunks of any sizes one after the other. */
export interface CallPools {
  /** The latest that leave out nobody with room for a chunk of about this size. */
  latest(sizeBytes: number): Pools;
  /** Anew, for this size; where that was done too often those of larger chunks, which are better than none. */
  rebuilt(sizeBytes: number): Pools | undefined;
}

/**
 * Pools that were built anew have only nodes with room for the chunk that asked for it. A smaller chunk must not go by
 * them: it would get to know neither the subnets and regions nor the weights of the other nodes. Sizes count by powers of
 * two, because chunks of a call may have a thousand sizes that are nearly the same.
 */
export function createCallPools(base: Pools, build: (sizeBytes: number) => Pools): CallPools {
  const bySize = new Map<number, Pools>();
  let rebuilds = 0;
  return {
    latest: (sizeBytes) => {
      const fitting = [...bySize.keys()].filter((size) => size <= classOf(sizeBytes));
      return bySize.get(Math.max(...fitting)) ?? base;
    },
    rebuilt: (sizeBytes) => {
      if (rebuilds >= MAX_REBUILDS) {
        const larger = [...bySize.keys()].filter((size) => size > classOf(sizeBytes));
        return bySize.get(Math.min(...larger));
      }
      rebuilds += 1;
      const pools = build(sizeBytes);
      bySize.set(classOf(sizeBytes), pools);
      return pools;
    },
  };
}

function classOf(sizeBytes: number): number {
  return Math.floor(Math.log2(Math.max(1, sizeBytes)));
}
