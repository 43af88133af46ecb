import { hash as argon2Hash, argon2id, verify as argon2Verify, type HashOptions } from "argon2";
import bcrypt from "bcrypt";
import { MAX_PASSWORD_BYTES } from "./password-policy.ts";
import { argon2Problem, hashFormatOf, hashProblem } from "./phc.ts";

export interface Argon2Parameters {
  readonly memoryKib: number;
  readonly passes: number;
  readonly lanes: number;
}

/** Checks and makes password hashes on libuv's threads. Callers hold a permit (`HashPermits`) while it works. */
export interface PasswordHasher {
  hash(password: string): Promise<string>;
  verify(stored: string, password: string): Promise<boolean>;
  /** As much work as `verify` of a hash of ours, for names that nobody has. */
  verifyDecoy(password: string): Promise<void>;
  /** The hash to store instead after a successful login, or undefined where the stored one is as new ones would be. */
  rehash(stored: string, password: string): Promise<string | undefined>;
}

/** In UTF-16 units. Taken apart, a character has at most one and a half for each byte that it has when composed. */
const MAX_DECOMPOSED_LENGTH = 2 * MAX_PASSWORD_BYTES;

/** The original system's bcrypt looks at the first 72 bytes only. */
const BCRYPT_BYTES = 72;

/**
 * Marks, as the PHC `data` field, a hash of the first 72 bytes of a longer imported password: nobody ever checked the
 * rest, so hashing all of it at the first login would turn a typing mistake there into the password.
 */
const first72 = Buffer.from("first72");
const FIRST_72_FIELD = `,data=${first72.toString("base64").replace(/=+$/, "")}$`;

export async function createPasswordHasher(parameters: Argon2Parameters): Promise<PasswordHasher> {
  // Each bound of the configuration may hold and their product not: such hashes would be made and never verified.
  const problem = argon2Problem(parameters);
  if (problem !== undefined) throw new Error(`ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES: a new hash ${problem}`);
  const options: HashOptions = {
    type: argon2id,
    memoryCost: parameters.memoryKib,
    timeCost: parameters.passes,
    parallelism: parameters.lanes,
    hashLength: 32,
  };
  const decoy = await newHash(Buffer.from("a password that no user has"), options);
  return {
    hash: (password) => newHash(secretOf(password), options),
    verify: verifyStored,
    verifyDecoy: async (password) => {
      await verifyStored(decoy, password);
    },
    rehash: async (stored, password) => {
      const format = hashFormatOf(stored);
      if (format.kind === "argon2id" && isCurrent(format, parameters)) return undefined;
      const typed = Buffer.from(password);
      if (stored.includes(FIRST_72_FIELD) || (format.kind === "bcrypt" && typed.length > BCRYPT_BYTES)) {
        return await newHash(typed.subarray(0, BCRYPT_BYTES), { ...options, associatedData: first72 });
      }
      return await newHash(secretOf(password), options);
    },
  };
}

/** The library writes m, p, t; every other implementation reads only the order of the reference one: m, t, p. */
async function newHash(secret: Buffer, options: HashOptions): Promise<string> {
  const written = await argon2Hash(secret, options);
  return written.replace(/\$m=(\d+),p=(\d+),t=(\d+)/, "$m=$1,t=$3,p=$2");
}

async function verifyStored(stored: string, password: string): Promise<boolean> {
  if (hashProblem(stored) !== undefined) return false;
  if (hashFormatOf(stored).kind === "bcrypt") {
    // The library knows $2a$ and $2b$; $2y$ is crypt_blowfish's name for the same.
    return await bcrypt.compare(Buffer.from(password).subarray(0, BCRYPT_BYTES), stored.replace(/^\$2y\$/, "$2b$"));
  }
  if (stored.includes(FIRST_72_FIELD))
    return await argon2Verify(stored, Buffer.from(password).subarray(0, BCRYPT_BYTES));
  const secret = secretOf(password);
  // No password of ours is longer. A megabyte is not worth hashing, but its refusal takes as long as every other.
  const isTooLong = isLongerThanAny(password);
  const matches = await argon2Verify(stored, isTooLong ? secret.subarray(0, MAX_PASSWORD_BYTES) : secret);
  return matches && !isTooLong;
}

/** Normalised, so that the same password typed on another keyboard is the same (NIST SP 800-63B-4, 3.1.1.2). */
function secretOf(password: string): Buffer {
  // Beyond any password of ours there is nothing to normalise for, and NFKC of a megabyte takes long.
  return Buffer.from(password.length > MAX_DECOMPOSED_LENGTH ? password : password.normalize("NFKC"));
}

/** Whether no password of ours could be typed so: decomposed, one of 100 bytes may come as 300. */
function isLongerThanAny(password: string): boolean {
  if (Buffer.byteLength(password) <= MAX_PASSWORD_BYTES) return false;
  return password.length > MAX_DECOMPOSED_LENGTH || Buffer.byteLength(password.normalize("NFC")) > MAX_PASSWORD_BYTES;
}

function isCurrent(format: Argon2Parameters, wanted: Argon2Parameters): boolean {
  return format.memoryKib === wanted.memoryKib && format.passes === wanted.passes && format.lanes === wanted.lanes;
}
