import type { Clock } from "#platform/time/clock.ts";
import { uuidv7 } from "#platform/time/uuid.ts";
import type { Keyring } from "../keys/signing-key.ts";
import type { ClientInfo } from "./client-info.ts";
import { idleExpiry, type SessionRules, tokenIssuedAt } from "./session.ts";
import type { SessionRow } from "./sessions.store.ts";

/** A new session's row, not stored yet. */
export function newSession(
  deps: { readonly clock: Clock; readonly keyring: Keyring; readonly sessionRules: SessionRules },
  user: { readonly userId: string; readonly isAdmin: boolean; readonly validAfter: Temporal.Instant | null },
  client: ClientInfo,
  now: Temporal.Instant,
): Omit<SessionRow, "revokedAt"> {
  const absoluteExpiresAt = now.add({ milliseconds: deps.sessionRules.absoluteMs });
  return {
    sessionId: uuidv7(deps.clock),
    userId: user.userId,
    generation: 1,
    createdAt: now,
    rotatedAt: now,
    idleExpiresAt: idleExpiry(now, absoluteExpiresAt, deps.sessionRules),
    absoluteExpiresAt,
    tokenIssuedAt: tokenIssuedAt(now, user.validAfter),
    tokenKeyId: deps.keyring.current().keyId,
    tokenIsAdmin: user.isAdmin,
    clientAddress: client.address,
    userAgent: client.userAgent,
  };
}
