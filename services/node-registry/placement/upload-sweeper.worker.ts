import { oneByOne } from "../chunks/one-by-one.worker.ts";
import { readDueUploads } from "../chunks/uploads.store.ts";
import type { Deps } from "../deps.ts";
import { failDueAttempt, forgetFailedUploads } from "./attempts.store.ts";
import { insertReturn } from "./reservation-returns.store.ts";
import { returnReservations } from "./reservations.worker.ts";

type SweeperDeps = Pick<Deps, "pool" | "clock" | "log" | "userQuota">;

/**
 * Ends what a crash left in RESERVING: the attempt fails, its number is never used again, and its reservation, whether or
 * not it came to be, is owed back to user-quota. A call that is only slow finds its attempt ended and begins the next.
 * Answers how many it ended.
 */
export async function failLeftovers(deps: SweeperDeps, limit = 100): Promise<number> {
  const now = deps.clock.now();
  const due = await readDueUploads(deps.pool, ["reserving"], now, limit);
  return oneByOne(deps, due, (uploadId) =>
    deps.pool.transaction(async (tx) => {
      const failed = await failDueAttempt(tx, uploadId, now);
      if (failed === undefined || failed.sizeBytes === 0n) return;
      await insertReturn(tx, { ...failed, reservationId: null }, now);
    }),
  );
}

/** One round of everything that placements leave behind; answers whether there may be more to do at once. */
export async function sweepPlacements(deps: SweeperDeps): Promise<boolean> {
  const failed = await failLeftovers(deps);
  const returned = await returnReservations(deps);
  const forgotten = await forgetFailedUploads(deps.pool, deps.clock.now(), 500);
  return failed === 100 || returned === 50 || forgotten === 500;
}
