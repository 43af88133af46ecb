import type { Deps } from "../deps.ts";
import { type Comparison, driftOf, type Verdict, verdictOf } from "./compare.ts";
import { type Cut, readCut, readLastEntryId } from "./cut.store.ts";

const PAUSE_MS = 400;
/** With the pause: how long the events of the looks may take to arrive. */
const MAX_TRIES = 10;

type Parts = Pick<Deps, "pool" | "clock" | "registry" | "chunkConsumption">;

/** What node-registry said, and where the stream ended when its events up to there had been published. */
interface Look extends Cut {
  readonly registryBytes: bigint;
  readonly streamEnd: number;
}

/**
 * Compares a user's charges with node-registry's. Each look takes the registry's sums with their outbox position and reads
 * the ledger as of that position, so traffic meanwhile does not matter. Equal sums are enough; a difference counts once
 * every event up to there was published and is applied, since one that waits after a failure would come on top of a
 * correction. Those that were lost will never come: they are waited for no longer than that. Undefined for a user without
 * an account.
 */
export async function compareUsage(deps: Parts, userId: string, signal?: AbortSignal): Promise<Verdict | undefined> {
  const looks: Comparison[] = [];
  let open: Look | undefined;
  for (let tries = 0; tries < MAX_TRIES && signal?.aborted !== true; tries += 1) {
    if (tries > 0) await deps.clock.sleep(PAUSE_MS, signal);
    if (open === undefined) {
      const asked = await ask(deps, userId, signal);
      if (asked === undefined) return undefined;
      if (asked.kind === "equal") return asked;
      open = asked.look;
    }
    if (open === undefined) continue;
    // Asked before the ledger is read: what is applied by then is in it.
    const isComplete = await isApplied(deps, open);
    const look = await compare(deps, open);
    if (look === undefined) return undefined;
    if (!isComplete && driftOf(look) !== 0n) continue;
    looks.push(look);
    const verdict = verdictOf(looks);
    if (verdict.kind !== "undecided") return verdict;
    open = undefined;
  }
  return { kind: "undecided" };
}

type Asked = { kind: "equal"; at: Comparison } | { kind: "differs"; look: Look | undefined };

/** Undefined without an account; without a look where the events are not all published, or nobody knows. */
async function ask(deps: Parts, userId: string, signal?: AbortSignal): Promise<Asked | undefined> {
  const lastEntryId = await readLastEntryId(deps.pool, userId);
  if (lastEntryId === undefined) return undefined;
  const usage = await deps.registry.getUserUsage({ userId }, signal === undefined ? {} : { signal });
  const cut = { userId, position: usage.outboxPosition, lastEntryId };
  const at = await compare(deps, { ...cut, registryBytes: usage.chargedBytes });
  if (at === undefined) return undefined;
  if (driftOf(at) === 0n) return { kind: "equal", at };
  const consumption = usage.isPublished ? await deps.chunkConsumption() : undefined;
  if (consumption === undefined) return { kind: "differs", look: undefined };
  return { kind: "differs", look: { ...cut, registryBytes: usage.chargedBytes, streamEnd: consumption.end } };
}

async function isApplied(deps: Parts, look: Look): Promise<boolean> {
  const consumption = await deps.chunkConsumption();
  return consumption !== undefined && consumption.applied >= look.streamEnd;
}

async function compare(deps: Parts, cut: Cut & { registryBytes: bigint }): Promise<Comparison | undefined> {
  const { userId, position, lastEntryId, registryBytes } = cut;
  const ledgerBytes = await readCut(deps.pool, cut);
  return ledgerBytes === undefined ? undefined : { userId, position, lastEntryId, registryBytes, ledgerBytes };
}
