import { createHash, randomBytes } from "node:crypto";

const ID_BYTES = 9;
const SECRET_BYTES = 32;
const FINGERPRINT_LENGTH = 32;
const PATTERN = /^([0-9a-f]{18})\.([A-Za-z0-9_-]{43})\.([0-9a-f]{32})$/;

export interface NewJoinToken {
  readonly joinTokenId: string;
  readonly secretHash: Buffer;
  readonly joinToken: string;
}

/** `<id>.<secret>.<first 32 hex of SHA-256 of the CA's SubjectPublicKeyInfo>`; only the secret's hash is kept. */
export function createJoinTokenText(authorityFingerprint: string): NewJoinToken {
  const joinTokenId = randomBytes(ID_BYTES).toString("hex");
  const secret = randomBytes(SECRET_BYTES).toString("base64url");
  const pin = authorityFingerprint.slice(0, FINGERPRINT_LENGTH);
  return { joinTokenId, secretHash: hashOf(secret), joinToken: `${joinTokenId}.${secret}.${pin}` };
}

/** Undefined for what cannot be a token of ours. The pin is for the node to check, not for us. */
export function parseJoinToken(text: string): { joinTokenId: string; secretHash: Buffer } | undefined {
  const match = PATTERN.exec(text);
  if (match?.[1] === undefined || match[2] === undefined) return undefined;
  return { joinTokenId: match[1], secretHash: hashOf(match[2]) };
}

/** A 256-bit random secret needs no slow hash. */
function hashOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}
