import { FACT_SOURCE } from "../charges/on-chunk-facts.event.ts";
import type { Deps } from "../deps.ts";
import { type Comparison, type Verdict, verdictOf } from "./compare.ts";
import { readCut } from "./cut.store.ts";

const PAUSE_MS = 400;
/** With the pause: how long the events of the last look may take to arrive. */
const MAX_LOOKS = 8;

/**
 * Compares a user's charges with node-registry's. Each look takes the registry's sums with their outbox position and reads
 * the ledger as of that position, so traffic meanwhile does not matter; a look for which the events are still on their way
 * does not count. Those that were lost will never come: they are waited for no longer than until everything that was
 * published is applied. Undefined for a user without an account.
 */
export async function compareUsage(
  deps: Pick<Deps, "pool" | "clock" | "registry" | "hasConsumedChunks">,
  userId: string,
  signal?: AbortSignal,
): Promise<Verdict | undefined> {
  const looks: Comparison[] = [];
  for (let tries = 0; tries < MAX_LOOKS && signal?.aborted !== true; tries += 1) {
    if (tries > 0) await deps.clock.sleep(PAUSE_MS, signal);
    const usage = await deps.registry.getUserUsage({ userId }, signal === undefined ? {} : { signal });
    const position = usage.outboxPosition;
    const registryBytes = usage.chargedBytes;
    let cut = await readCut(deps.pool, { userId, source: FACT_SOURCE, position });
    // Equal sums need no proof that every event has arrived; different ones do.
    if (cut !== null && cut.appliedPosition < position && cut.chargedBytes !== registryBytes) {
      if (!usage.isPublished || !(await deps.hasConsumedChunks())) continue;
      // Once more, since they may have been applied in between.
      cut = await readCut(deps.pool, { userId, source: FACT_SOURCE, position });
    }
    if (cut === null) return undefined;
    looks.push({ position, ledgerBytes: cut.chargedBytes, registryBytes });
    const verdict = verdictOf(looks);
    if (verdict.kind !== "undecided") return verdict;
  }
  return { kind: "undecided" };
}
