import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { isJoinTokenUsable } from "./join-tokens.store.ts";
import type { TokenProof } from "./token-uses.ts";

/** How long a token that was usable may be taken for usable: the transaction looks again, under its lock. */
const GOOD_MS = 1_000;
const MAX_KNOWN = 1_000;

/**
 * Whether a request deserves the work of verifying its signature. Only good tokens are remembered, so that a crowd with
 * one token costs one query a second, and guesses cost one each as before.
 */
export function createTokenLooks(deps: {
  readonly pool: Pool;
  readonly clock: Clock;
}): (proof: TokenProof) => Promise<boolean> {
  const goodUntilMs = new Map<string, number>();
  return async (proof) => {
    const key = `${proof.joinTokenId}.${Buffer.from(proof.secretHash).toString("hex")}`;
    const nowMs = deps.clock.monotonicMs();
    if ((goodUntilMs.get(key) ?? Number.NEGATIVE_INFINITY) > nowMs) return true;
    const isUsable = await isJoinTokenUsable(deps.pool, proof, deps.clock.now());
    goodUntilMs.delete(key);
    if (goodUntilMs.size >= MAX_KNOWN) goodUntilMs.clear();
    if (isUsable) goodUntilMs.set(key, nowMs + GOOD_MS);
    return isUsable;
  };
}
