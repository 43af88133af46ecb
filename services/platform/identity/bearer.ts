import type { HandlerContext } from "@connectrpc/connect";
import { anonymous, type Caller, revokedKey } from "#platform/rpc/caller.ts";
import { unauthenticated } from "#platform/rpc/errors.ts";
import type { TokenVerifier } from "./token-verifier.ts";

const BEARER = /^bearer +(\S+) *$/i;

/** Who calls by `Authorization: Bearer <token>`: nobody known where the header is missing. */
export function bearerIdentity(verifier: TokenVerifier): (context: HandlerContext) => Caller | Promise<Caller> {
  return (context) => {
    const header = context.requestHeader.get("authorization");
    if (header === null || header === "") return anonymous;
    const token = BEARER.exec(header)?.[1];
    if (token === undefined) throw unauthenticated("TOKEN_INVALID", "the Authorization header must be: Bearer <token>");
    // A unary call is over before anybody would look again.
    if (context.method.methodKind !== "unary") context.values.set(revokedKey, () => verifier.isRevoked(token));
    return verifier.verify(token);
  };
}
