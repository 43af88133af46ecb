import { type CommonPasswords, isCommon } from "./common-passwords.ts";
import { isCleanText, nameKey } from "./username.ts";

export const MAX_PASSWORD_BYTES = 256;

/** What is left of a password besides the user's own name must be at least this long. */
const MIN_BESIDES_NAME = 6;

export interface PasswordPolicy {
  /** In Unicode code points. */
  readonly minLength: number;
  readonly common: CommonPasswords;
}

/**
 * The rule that a new password breaks, or undefined: length and a blocklist, no composition rules (NIST SP 800-63B-4,
 * 3.1.1.2). Every way to set a password goes through here.
 */
export function passwordProblem(
  password: string,
  user: { readonly username: string; readonly email?: string | undefined },
  policy: PasswordPolicy,
): string | undefined {
  if (password === "") return "is required";
  // Checked first: nothing below looks at more than 256 bytes.
  if (password.length > MAX_PASSWORD_BYTES || Buffer.byteLength(password) > MAX_PASSWORD_BYTES) {
    return `must have at most ${MAX_PASSWORD_BYTES} bytes of UTF-8`;
  }
  if (!isCleanText(password)) return "must be well-formed Unicode";
  if (password.includes("\0")) return "must not contain the character U+0000";
  if ([...password].length < policy.minLength) return `must have at least ${policy.minLength} characters`;
  const folded = nameKey(password);
  for (const word of contextWords(user)) {
    if (isMadeOf(folded, word)) return "must not be made of your name or of the name of this service";
  }
  if (isCommon(folded, policy.common)) return "is a common password or was part of a breach: choose another";
  if (new Set(folded).size < 4) return "must not repeat a few characters only";
  return undefined;
}

function contextWords(user: { readonly username: string; readonly email?: string | undefined }): string[] {
  const localPart = user.email?.split("@")[0] ?? "";
  return [nameKey(user.username), nameKey(localPart), "decentrastore"].filter((word) => word.length >= 3);
}

function isMadeOf(folded: string, word: string): boolean {
  const reversed = [...word].reverse().join("");
  return [word, reversed].some((part) => {
    const rest = folded.replaceAll(part, "");
    return rest !== folded && rest.length < MIN_BESIDES_NAME;
  });
}
