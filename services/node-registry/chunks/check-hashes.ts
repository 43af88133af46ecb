import type { Check } from "#platform/rpc/validate.ts";

/** The rules of a field `chunk_hashes`. */
export function checkHashes(
  check: Check,
  hashes: readonly string[],
  limits: { readonly max: number; readonly isOnce: boolean; readonly min?: number },
): void {
  check.count("chunk_hashes", hashes, { min: limits.min ?? 1, max: limits.max });
  // What is beyond the limit is refused anyway: looking at it would be work for nothing.
  const seen = new Set<string>();
  hashes.slice(0, limits.max).forEach((hash, index) => {
    const path = `chunk_hashes[${index}]`;
    check.hash(path, hash);
    if (limits.isOnce && seen.has(hash)) check.fail(path, "must be named once");
    seen.add(hash);
  });
}
