import type { Deps } from "../deps.ts";
import { tooManyAttempts } from "../errors.ts";
import { type Rate, takeFromRate } from "./rate-limits.store.ts";

/** @throws TOO_MANY_ATTEMPTS once an address has used up its rate for this RPC, on all replicas together. */
export async function limitRate(deps: Deps, rpc: string, address: string, rate: Rate): Promise<void> {
  const waitMs = await takeFromRate(deps.pool, deps.throttleKeys.rate(rpc, address), rate, deps.clock.now());
  if (waitMs !== undefined) throw tooManyAttempts(waitMs);
}
