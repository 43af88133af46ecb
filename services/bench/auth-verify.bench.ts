import { createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import { createRevocations } from "#platform/identity/revocations.ts";
import { createTokenVerifier } from "#platform/identity/token-verifier.ts";
import { createLogger } from "#platform/log/logger.ts";
import { systemClock } from "#platform/time/clock.ts";
import { signUserToken } from "../auth/keys/access-token.ts";
import { isShort, measured } from "./measured.ts";

// Offline verification of new tokens against bare Ed25519 verification of the same bytes, one after the other and eight
// at a time; and of tokens that were seen before, with the revocations of a bad day.

const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const jwk = publicKey.export({ format: "jwk" });
const kid = "bench";
const claims = { issuer: "decentrastore", userId: crypto.randomUUID(), isAdmin: false, issuedAt: systemClock.now() };
const tokens = (count: number) =>
  Array.from({ length: count }, () => {
    return signUserToken({ keyId: kid, privateKey }, { ...claims, sessionId: crypto.randomUUID() }).token;
  });
const revocations = createRevocations(systemClock);
for (let n = 0; n < 10_000; n += 1) {
  revocations.add({ userId: crypto.randomUUID(), sessionIds: [crypto.randomUUID()], validAfter: systemClock.now() });
}
const newVerifier = () =>
  createTokenVerifier({
    jwks: () => [{ ...jwk, kid, alg: "EdDSA", use: "sig" }],
    issuer: "decentrastore",
    clock: systemClock,
    log: createLogger("bench", "error"),
    isRevoked: revocations.isRevoked,
  });

const subtleKey = await crypto.subtle.importKey("jwk", jwk, "Ed25519", false, ["verify"]);
const nodeKey = createPublicKey({ key: jwk, format: "jwk" });

function parts(token: string): { input: Buffer<ArrayBuffer>; signature: Buffer<ArrayBuffer> } {
  const at = token.lastIndexOf(".");
  return { input: Buffer.from(token.slice(0, at)), signature: Buffer.from(token.slice(at + 1), "base64url") };
}

async function perSecond(all: readonly string[], width: number, work: (token: string) => unknown): Promise<number> {
  const startedMs = performance.now();
  for (let at = 0; at < all.length; at += width) await Promise.all(all.slice(at, at + width).map(work));
  return (all.length / (performance.now() - startedMs)) * 1_000;
}

const bare = (token: string) => {
  const { input, signature } = parts(token);
  return crypto.subtle.verify("Ed25519", subtleKey, signature, input);
};
const bareSync = (token: string) => {
  const { input, signature } = parts(token);
  return verify(null, input, nodeKey, signature);
};

for (const width of [1, 8]) {
  // Short turns of all kinds: what a shared machine takes away it takes from some of them only.
  const ratios: number[] = [];
  const best = { bare: 0, bareSync: 0, verifier: 0 };
  for (let round = 0; round < (isShort ? 8 : 25); round += 1) {
    const fresh = tokens(500);
    const verifier = newVerifier();
    await verifier.verify(tokens(1)[0] ?? "");
    const alone = await perSecond(fresh, width, bare);
    const verified = await perSecond(fresh, width, (token) => verifier.verify(token));
    ratios.push(verified / alone);
    best.bare = Math.max(best.bare, alone);
    best.verifier = Math.max(best.verifier, verified);
    best.bareSync = Math.max(best.bareSync, await perSecond(fresh, width, bareSync));
  }
  console.log(
    `${width} at a time: WebCrypto ${best.bare.toFixed(0)}/s, node:crypto ${best.bareSync.toFixed(0)}/s, ` +
      `verifier ${best.verifier.toFixed(0)}/s`,
  );
  // Several at a time compare how two thread pools share the cores; the promise is about what each token costs.
  if (width === 1)
    measured("verifyNew", ratios.slice(2)); // the first ones warm up
  else console.log(`${width} at a time: ${(best.verifier / best.bare).toFixed(2)} of WebCrypto`);
}

const verifier = newVerifier();
const seen = tokens(1_000);
for (const token of seen) await verifier.verify(token);
const many = Array.from({ length: 200_000 }, (_, n) => seen[n % seen.length] ?? "");
const rates: number[] = [];
for (let round = 0; round < 5; round += 1) rates.push(await perSecond(many, 1, (token) => verifier.verify(token)));
measured("verifySeen", rates);
