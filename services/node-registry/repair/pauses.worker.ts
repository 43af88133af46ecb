import type { RepairDeps } from "./repair-deps.ts";
import { readPauses, savePauses } from "./repairs.store.ts";
import { isPausedUntil, pauseMs } from "./urgency.ts";

/** Of the chunks, those that are not to be looked at now. */
export async function findPaused(
  { pool, clock, config }: Pick<RepairDeps, "pool" | "clock" | "config">,
  hashes: readonly string[],
): Promise<ReadonlySet<string>> {
  if (hashes.length === 0) return new Set();
  const nowMs = clock.now().epochMilliseconds;
  const paused = [...(await readPauses(pool, hashes))].filter(([, { until }]) =>
    isPausedUntil(until.epochMilliseconds, nowMs, config.REPAIR_PAUSE),
  );
  return new Set(paused.map(([chunkHash]) => chunkHash));
}

/** The first time that a node has no source, another one is tried at once: it may reach what the first could not. */
export async function pause(deps: RepairDeps, hashes: readonly string[], isRefused = false): Promise<void> {
  if (hashes.length === 0) return;
  const known = await readPauses(deps.pool, hashes);
  const now = deps.clock.now();
  await savePauses(
    deps.pool,
    hashes.map((chunkHash) => {
      const failures = (known.get(chunkHash)?.failures ?? -1) + 1;
      const isFirstRefusal = isRefused && failures === 0;
      const ms = isFirstRefusal ? 0 : Math.round(pauseMs(deps.config.REPAIR_PAUSE, failures, deps.random));
      return { chunkHash, failures, until: now.add({ milliseconds: ms }) };
    }),
  );
}
