import type { Connection } from "#platform/postgres/pool.ts";
import { planRotation, type RotationRules } from "./rotation.ts";
import { type KeyDeps, newSigningKey } from "./signing-key.ts";
import { deleteSigningKeys, insertSigningKey, lockSigningKeys, promoteNextKey } from "./signing-keys.store.ts";

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
    const plan = planRotation(await lockSigningKeys(tx), now, rules, options.wanted ?? false);
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
