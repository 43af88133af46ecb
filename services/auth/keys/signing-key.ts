import { createHash, generateKeyPairSync, type KeyObject } from "node:crypto";
import { z } from "zod";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { SealingKey } from "./sealing.ts";
import type { NewSigningKey } from "./signing-keys.store.ts";

export interface SigningKey {
  readonly keyId: string;
  readonly privateKey: KeyObject;
}

/** RFC 8037 names, as in the key set. */
export interface PublicJwk {
  readonly kty: "OKP";
  readonly crv: "Ed25519";
  readonly x: string;
  readonly kid: string;
  readonly alg: "EdDSA";
  readonly use: "sig";
}

/** The signing keys as this process last read them. */
export interface Keyring {
  current(): SigningKey;
  /** Also the previous ones, for repeating an answer to the byte. */
  find(keyId: string): SigningKey | undefined;
  published(): readonly PublicJwk[];
  reload(): Promise<void>;
}

export interface KeyDeps {
  readonly pool: Pool;
  readonly sealing: SealingKey;
  readonly clock: Clock;
}

export function signingKeyPurpose(keyId: string): string {
  return `signing-key:${keyId}`;
}

const okpJwk = z.object({ x: z.string(), d: z.string() });

export function newSigningKey(sealing: SealingKey): NewSigningKey {
  const { x, d } = okpJwk.parse(generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" }));
  const publicKey = Buffer.from(x, "base64url");
  // The thumbprint of RFC 7638, shortened: unique by chance, and says nothing.
  const thumbprint = createHash("sha256")
    .update(JSON.stringify({ crv: "Ed25519", kty: "OKP", x }))
    .digest("base64url");
  const keyId = thumbprint.slice(0, 22);
  return { keyId, publicKey, privateKeySealed: sealing.seal(Buffer.from(d, "base64url"), signingKeyPurpose(keyId)) };
}
