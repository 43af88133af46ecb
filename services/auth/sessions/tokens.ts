import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TokensSchema } from "#gen/decentrastore/auth/v1/tokens_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import { signUserToken } from "../keys/access-token.ts";
import type { Keyring } from "../keys/signing-key.ts";
import type { RefreshTokens } from "./refresh-token.ts";
import type { SessionRow } from "./sessions.store.ts";

type TokenFields = Pick<
  SessionRow,
  "sessionId" | "userId" | "generation" | "idleExpiresAt" | "tokenIssuedAt" | "tokenKeyId" | "tokenIsAdmin"
>;

/** The token pair of a session's newest generation: a function of the row, so the same row gives the same bytes. */
export function tokensOf(
  deps: { readonly keyring: Keyring; readonly refreshTokens: RefreshTokens; readonly issuer: string },
  session: TokenFields,
): MessageInitShape<typeof TokensSchema> {
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
