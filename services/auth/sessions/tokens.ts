import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TokensSchema } from "#gen/decentrastore/auth/v1/tokens_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { Clock } from "#platform/time/clock.ts";
import { signUserToken } from "../keys/access-token.ts";
import type { Keyring } from "../keys/signing-key.ts";
import type { RefreshTokens } from "./refresh-token.ts";
import type { SessionRow } from "./sessions.store.ts";

type TokenFields = Pick<
  SessionRow,
  "sessionId" | "userId" | "generation" | "idleExpiresAt" | "tokenIssuedAt" | "tokenKeyId" | "tokenIsAdmin"
>;

interface TokenDeps {
  readonly keyring: Keyring;
  readonly refreshTokens: RefreshTokens;
  readonly issuer: string;
}

/** The token pair of a session's newest generation: a function of the row, so the same row gives the same bytes. */
export function tokensOf(deps: TokenDeps, session: TokenFields): MessageInitShape<typeof TokensSchema> {
  const key = deps.keyring.find(session.tokenKeyId) ?? deps.keyring.current();
  const access = signUserToken(key, {
    issuer: deps.issuer,
    userId: session.userId,
    sessionId: session.sessionId,
    isAdmin: session.tokenIsAdmin,
    issuedAt: session.tokenIssuedAt,
  });
  return {
    accessToken: access.token,
    accessTokenExpiresAt: toTimestamp(access.expiresAt),
    refreshToken: deps.refreshTokens.issue(session),
    refreshTokenExpiresAt: toTimestamp(session.idleExpiresAt),
  };
}

/** How far an `iat` may lie ahead; verifiers bear 5 s, of which some belong to the difference between clocks. */
const MAX_AHEAD_MS = 1_000;
const MAX_WAIT_MS = 1_000;

/**
 * The same for a login. A token made after a revocation of all says so by a later second, so a user who goes on revoking
 * and signing in would run ahead of the time, to tokens that everybody refuses as from the future: that waits a second.
 */
export async function tokensInTime(deps: TokenDeps & { readonly clock: Clock }, session: TokenFields) {
  const aheadMs = session.tokenIssuedAt.epochMilliseconds - deps.clock.now().epochMilliseconds;
  if (aheadMs > MAX_AHEAD_MS) await deps.clock.sleep(Math.min(aheadMs - MAX_AHEAD_MS, MAX_WAIT_MS));
  return tokensOf(deps, session);
}
