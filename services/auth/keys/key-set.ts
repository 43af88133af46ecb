import type { PublicJwk } from "./signing-key.ts";

/** What verifiers may cache the key set for; keys are published twice as long before they sign. */
export const KEY_SET_MAX_AGE_SECONDS = 300;

/** The answer of `GET /.well-known/jwks.json` (RFC 7517). */
export function keySetAnswer(keys: readonly PublicJwk[]) {
  return {
    status: 200,
    contentType: "application/jwk-set+json",
    body: JSON.stringify({ keys }),
    headers: { "cache-control": `public, max-age=${KEY_SET_MAX_AGE_SECONDS}`, "access-control-allow-origin": "*" },
  };
}
