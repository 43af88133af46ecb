import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { Authorities } from "./authorities.worker.ts";
import { createJoinTokenText } from "./join-token.ts";
import { insertJoinToken } from "./join-tokens.store.ts";

export interface IssuedJoinToken {
  readonly joinToken: string;
  readonly joinTokenId: string;
  readonly expiresAt: Temporal.Instant;
}

/** The one place that makes join tokens, for the RPC and for the command. `maxUses` 0 is unlimited. */
export async function issueJoinToken(
  deps: { readonly pool: Pool; readonly clock: Clock; readonly authorities: Authorities },
  wanted: { readonly maxUses: number; readonly ttlMs: number; readonly createdBy: string },
): Promise<IssuedJoinToken> {
  const token = createJoinTokenText(deps.authorities.pin());
  const expiresAt = deps.clock.now().add({ nanoseconds: Math.round(wanted.ttlMs * 1e6) });
  await insertJoinToken(deps.pool, {
    joinTokenId: token.joinTokenId,
    secretHash: token.secretHash,
    maxUses: wanted.maxUses,
    expiresAt,
    createdBy: wanted.createdBy,
  });
  return { joinToken: token.joinToken, joinTokenId: token.joinTokenId, expiresAt };
}
