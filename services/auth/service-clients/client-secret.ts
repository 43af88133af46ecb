import { createHash, randomBytes } from "node:crypto";

/** 256 random bits behind a prefix that secret scanners can look for. */
export function newClientSecret(): string {
  return `dss1_${randomBytes(32).toString("base64url")}`;
}

/** A plain hash: the secret is random, so there is nothing to guess that would make a slow one worth while. */
export function clientSecretHash(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}
