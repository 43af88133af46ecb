import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";

/** Encrypts small secrets for storage in the database. What is sealed for one purpose does not open for another. */
export interface SealingKey {
  seal(plain: Uint8Array, purpose: string): Buffer;
  /** @throws SealError when no key fits or the content was changed. */
  open(sealed: Uint8Array, purpose: string): Buffer;
  /** Whether it was sealed with the newest key; what was not is sealed again when keys are rotated. */
  isCurrent(sealed: Uint8Array): boolean;
}

export class SealError extends Error {
  override readonly name = "SealError";
}

const VERSION = 1;
const KEY_ID_BYTES = 4;
const IV_BYTES = 12;
const TAG_BYTES = 16;
const HEAD_BYTES = 1 + KEY_ID_BYTES + IV_BYTES;

/**
 * AES-256-GCM. Layout: version, first 4 bytes of the key's SHA-256, random IV, ciphertext, tag; the purpose is
 * authenticated. Seals with `current`, opens with either key, so that KEY_ENCRYPTION_KEY can be replaced.
 */
export function createSealingKey(current: Uint8Array, previous?: Uint8Array): SealingKey {
  const currentId = keyIdOf(current);
  const keys = [current, ...(previous === undefined ? [] : [previous])].map((key) => ({ id: keyIdOf(key), key }));
  return {
    seal: (plain, purpose) => {
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv("aes-256-gcm", current, iv).setAAD(Buffer.from(purpose));
      const body = Buffer.concat([cipher.update(plain), cipher.final()]);
      return Buffer.concat([Buffer.of(VERSION), currentId, iv, body, cipher.getAuthTag()]);
    },
    open: (sealed, purpose) => {
      const bytes = Buffer.from(sealed);
      const found = keys.find(({ id }) => bytes[0] === VERSION && idIn(bytes).equals(id));
      if (found === undefined || bytes.length < HEAD_BYTES + TAG_BYTES) {
        throw new SealError(`no key encryption key fits the stored ${purpose}`);
      }
      const iv = bytes.subarray(1 + KEY_ID_BYTES, HEAD_BYTES);
      const decipher = createDecipheriv("aes-256-gcm", found.key, iv).setAAD(Buffer.from(purpose));
      decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
      try {
        return Buffer.concat([decipher.update(bytes.subarray(HEAD_BYTES, -TAG_BYTES)), decipher.final()]);
      } catch (cause) {
        throw new SealError(`the stored ${purpose} was changed`, { cause });
      }
    },
    isCurrent: (sealed) => idIn(Buffer.from(sealed)).equals(currentId),
  };
}

function keyIdOf(key: Uint8Array): Buffer {
  return createHash("sha256").update(key).digest().subarray(0, KEY_ID_BYTES);
}

function idIn(sealed: Buffer): Buffer {
  return sealed.subarray(1, 1 + KEY_ID_BYTES);
}
