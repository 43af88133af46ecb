/** Pending deletions by node: how many there were when their hashes were last read, and when that was. */
export type LoadedDeletions = Map<bigint, { readonly pending: number; readonly atMs: number }>;

// The same number may stand for other hashes: as many may have come as were confirmed, here or at another process.
const REREAD_MS = 30_000;

/**
 * The nodes whose hashes to delete are read now: those with another number of them than when they were read, and from time
 * to time the others. Whoever has waited longest is first, so that nodes whose numbers change all the time leave a turn to
 * the rest.
 */
export function nextToLoad<N extends { readonly pending: number }>(
  nodes: ReadonlyMap<bigint, N>,
  loaded: LoadedDeletions,
  nowMs: number,
  most: number,
): readonly (readonly [rowId: bigint, node: N])[] {
  const readAtMs = (rowId: bigint) => loaded.get(rowId)?.atMs ?? Number.MIN_SAFE_INTEGER;
  return [...nodes]
    .filter(([rowId, { pending }]) => {
      return loaded.get(rowId)?.pending !== pending || nowMs - readAtMs(rowId) >= REREAD_MS;
    })
    .sort(([a], [b]) => readAtMs(a) - readAtMs(b))
    .slice(0, most);
}
