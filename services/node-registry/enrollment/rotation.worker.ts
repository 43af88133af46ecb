import { runAsLeader } from "#platform/leadership/leadership.ts";
import type { Logger } from "#platform/log/logger.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { activateAnnounced, retireUnused, selectAuthorities } from "./authorities.store.ts";
import { type AuthoritiesDeps, createStoredAuthority } from "./authorities.worker.ts";

/** An authority is replaced when it has less than this to live: long enough for every node to renew many times. */
const REPLACE_BEFORE_MS = 365 * 86_400_000;

export interface RotationTimes {
  readonly everyMs: number;
  /** How long a new authority is only trusted, until every registry process and its node edge have heard of it. */
  readonly announceMs: number;
  /**
   * How long the one before stays trusted at least, although no node seems to need it: the answer with a new certificate
   * may have been lost, and its node, which is asked again when it connects, knows only the old one.
   */
  readonly overlapMs: number;
}

export const rotationTimes: RotationTimes = { everyMs: 10_000, announceMs: 60_000, overlapMs: 3_600_000 };

/**
 * Takes the replacement of the CA through its steps, in one process at a time: announced (trusted everywhere), active
 * (nodes are asked to renew, servers still use the old one), and after the overlap the old one retired when no living
 * certificate of a node needs it. An authority near its end is replaced by itself, any other one by `announceAuthority`.
 */
export function startRotation(
  deps: AuthoritiesDeps & { readonly pool: Pool; readonly clock: Clock; readonly log: Logger },
  times: RotationTimes,
  signal: AbortSignal,
): AsyncDisposable {
  const stop = new AbortController();
  const running = runAsLeader({
    pool: deps.pool,
    schema: "node_registry",
    name: "ca-rotation",
    clock: deps.clock,
    log: deps.log,
    signal: AbortSignal.any([signal, stop.signal]),
    work: async (lease) => {
      while (!lease.signal.aborted && lease.isHeld()) {
        try {
          await advanceRotation(deps, times);
        } catch (error) {
          deps.log.warn({ err: error }, "the CA's replacement cannot go on, trying again");
        }
        await deps.clock.sleep(times.everyMs, lease.signal);
      }
    },
  });
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
}

async function advanceRotation(deps: AuthoritiesDeps, times: RotationTimes): Promise<void> {
  const now = deps.clock.now();
  if (await deps.pool.transaction((tx) => activateAnnounced(tx, now, times.announceMs))) {
    deps.log.warn("a new certificate authority issues from now on; nodes are asked to renew");
  }
  if (await retireUnused(deps.pool, now, times.overlapMs)) deps.log.warn("a certificate authority is retired");
  const rows = await selectAuthorities(deps.pool);
  const active = rows.find((row) => row.state === "active");
  const isNearEnd = active !== undefined && active.expires_at.since(now).total("milliseconds") < REPLACE_BEFORE_MS;
  if (isNearEnd && rows.every((row) => row.state !== "announced")) await announceAuthority(deps);
}

/** Begins the replacement; false where one is under way. */
export async function announceAuthority(deps: AuthoritiesDeps): Promise<boolean> {
  const rows = await selectAuthorities(deps.pool);
  if (rows.some((row) => row.state !== "active")) return false;
  return createStoredAuthority(deps, "announced");
}
