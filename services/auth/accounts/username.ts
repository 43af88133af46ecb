const MIN_LENGTH = 3;
const MAX_LENGTH = 80;

/** The form in which a name is stored and shown. */
export function normaliseName(typed: string): string {
  return typed.normalize("NFKC");
}

/**
 * The form in which names and e-mail addresses are compared: two that a reader takes for the same have the same key.
 * Upper case in between unites what lower case alone keeps apart ("ß" and "ss", "ſ" and "s").
 */
export function nameKey(typed: string): string {
  return typed.normalize("NFKC").toLowerCase().toUpperCase().toLowerCase().normalize("NFKC");
}

/** Neither lone surrogates nor U+FFFD, which decoders put in their place: different garbage would become one name. */
export function isCleanText(text: string): boolean {
  return text.isWellFormed() && !text.includes("\ufffd");
}

/** The rule that a new username breaks, or undefined. */
export function usernameProblem(typed: string): string | undefined {
  if (typed === "") return "is required";
  if (!isCleanText(typed)) return "must be well-formed Unicode";
  // Bounds the work of the normalisation; no 80 characters of any script need more.
  if (typed.length > 8 * MAX_LENGTH) return `must have ${MIN_LENGTH} to ${MAX_LENGTH} characters`;
  const name = normaliseName(typed);
  const length = [...name].length;
  if (length < MIN_LENGTH || length > MAX_LENGTH) return `must have ${MIN_LENGTH} to ${MAX_LENGTH} characters`;
  // Controls, private use and unassigned ones, separators, and what shows as nothing (the Hangul fillers are letters, the
  // blank Braille pattern a symbol): two names must not look the same for the sake of it.
  if (/[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/u.test(name))
    return "must not contain control or invisible characters";
  if (/^\s|\s$|\s\s/u.test(name)) return "must not begin or end with a blank, nor have two in a row";
  return undefined;
}

/** The rule that an e-mail address breaks, or undefined. Whether it takes mail only a mail can tell. */
export function emailProblem(email: string): string | undefined {
  if (!isCleanText(email)) return "must be well-formed Unicode";
  // Also as it is compared: one Arabic ligature becomes 18 letters, and a page token has no room for thousands.
  if (email.length > 240 || [...email].length > 120 || [...normaliseName(email)].length > 120) {
    return "must have at most 120 characters";
  }
  return /^[^\s@\p{C}]+@[^\s@\p{C}]+$/u.test(email) ? undefined : "must be an e-mail address";
}
