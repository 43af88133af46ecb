import type { Check } from "#platform/rpc/validate.ts";

/** The rules of a field `chunk_hashes`. */
export function checkHashes(
  check: Check,
  hashes: readonly string[],
  limits: { readonly max: number; readonly min?: number },
): void {
  check.count("chunk_hashes", hashes, { min: limits.min ?? 1, max: limits.max });
  // What is beyond the limit is refused anyway: looking at it would be work for nothing.
  hashes.slice(0, limits.max).forEach((hash, index) => {
    check.hash(`chunk_hashes[${index}]`, hash);
  });
}
