import type { Logger } from "#platform/log/logger.ts";
import type { Connection } from "#platform/postgres/pool.ts";
import { recordAudit } from "../audit/audit.event.ts";
import { isFarAhead, latestCredible } from "../wrong-clock.ts";
import { planRotation, type RotationRules } from "./rotation.ts";
import { type KeyDeps, type Keyring, newSigningKey } from "./signing-key.ts";
import {
  deleteSigningKeys,
  insertSigningKey,
  lockSigningKeys,
  promoteNextKey,
  redateSigningKeys,
  type SigningKeyRow,
} from "./signing-keys.store.ts";

export interface RotationResult {
  readonly promoted: boolean;
  readonly dropped: readonly string[];
  readonly tooEarlyMs: number;
}

/**
 * One step of the keys' life, whatever is due: first keys, promotion, removal. Several replicas may do it at once.
 * `onPromoted` records the promotion in the same transaction.
 */
export async function rotateKeys(
  deps: KeyDeps,
  rules: RotationRules,
  options: { wanted?: boolean; onPromoted?: (tx: Connection) => Promise<void> } = {},
): Promise<RotationResult> {
  const now = deps.clock.now();
  return await deps.pool.transaction(async (tx) => {
    const plan = planRotation(await keysToRotate(tx, now), now, rules, options.wanted ?? false);
    if (plan.promote) {
      await promoteNextKey(tx, now);
      await options.onPromoted?.(tx);
    }
    if (plan.makeCurrent) await insertSigningKey(tx, newSigningKey(deps.sealing), "current", now);
    if (plan.makeNext) await insertSigningKey(tx, newSigningKey(deps.sealing), "next", now);
    if (plan.drop.length > 0) await deleteSigningKeys(tx, plan.drop);
    return { promoted: plan.promote, dropped: plan.drop, tooEarlyMs: plan.tooEarlyMs };
  });
}

async function keysToRotate(tx: Connection, now: Temporal.Instant): Promise<readonly SigningKeyRow[]> {
  const keys = await lockSigningKeys(tx);
  const isMisdated = keys.some(({ createdAt, currentSince, previousSince }) =>
    [createdAt, currentSince, previousSince].some((at) => at !== null && isFarAhead(at, now)),
  );
  return isMisdated ? await redateSigningKeys(tx, now, latestCredible(now)) : keys;
}

/** Between two looks at the keys: replicas sign with a key for at most this long after another one retired it. */
const RELOAD_MS = 15_000;

/** Rotates the keys when they are due, and reads what other replicas or `auth:rotate-keys` did. */
export function keepKeysRotating(
  deps: KeyDeps & { readonly keyring: Keyring; readonly rotationRules: RotationRules; readonly log: Logger },
  signal: AbortSignal,
): AsyncDisposable {
  const stop = new AbortController();
  const ended = AbortSignal.any([signal, stop.signal]);
  const step = async () => {
    try {
      const rotated = await rotateKeys(deps, deps.rotationRules, {
        onPromoted: (tx) =>
          recordAudit(tx, deps.clock, { type: "ROTATE_SIGNING_KEY", actorId: "system", reason: "by schedule" }),
      });
      await deps.keyring.reload();
      if (rotated.promoted) deps.log.info({ key: deps.keyring.current().keyId }, "another key signs from now on");
    } catch (error) {
      deps.log.warn({ err: error }, "the signing keys could not be read, trying again");
    }
  };
  const running = (async () => {
    while (!ended.aborted) {
      await deps.clock.sleep(RELOAD_MS * (0.8 + Math.random() * 0.4), ended);
      if (!ended.aborted) await step();
    }
  })();
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
}
