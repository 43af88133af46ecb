/** Nodes whose hashes to delete were read: which change was the last one in them, and when that was. */
export type LoadedDeletions = Map<bigint, { readonly change: string; readonly atMs: number }>;

/**
 * The nodes whose hashes to delete are read now: those that have changed since. Whoever has waited longest is first, so
 * that nodes that change all the time leave a turn to the rest.
 */
export function nextToLoad<N extends { readonly change: string }>(
  nodes: ReadonlyMap<bigint, N>,
  loaded: LoadedDeletions,
  most: number,
): readonly (readonly [rowId: bigint, node: N])[] {
  const readAtMs = (rowId: bigint) => loaded.get(rowId)?.atMs ?? Number.MIN_SAFE_INTEGER;
  return [...nodes]
    .filter(([rowId, { change }]) => loaded.get(rowId)?.change !== change)
    .sort(([a], [b]) => readAtMs(a) - readAtMs(b))
    .slice(0, most);
}
