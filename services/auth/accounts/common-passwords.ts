import { dictionary } from "@zxcvbn-ts/language-common";

/** Passwords seen most often in breaches, lower case. About 49,000 entries, a few megabytes. */
export type CommonPasswords = ReadonlySet<string>;

export function loadCommonPasswords(): CommonPasswords {
  return new Set(dictionary["passwords-common"].map((password) => String(password)));
}

const lookalikes = new Map([
  ["@", "a"],
  ["4", "a"],
  ["3", "e"],
  ["0", "o"],
  ["$", "s"],
  ["5", "s"],
  ["!", "i"],
  ["1", "i"],
]);

/**
 * Whether a guesser who knows the list tries `folded` (lower case, NFKC) among the first: an entry, an entry with a few
 * digits or signs behind it, two entries in a row, one thing repeated, or a run such as "123456789012".
 */
export function isCommon(folded: string, list: CommonPasswords): boolean {
  if (list.has(folded) || isRun(folded)) return true;
  const unit = repeatedUnit(folded);
  if (unit !== undefined && (unit.length < 6 || isCommon(unit, list))) return true;
  for (let cut = 3; cut < folded.length; cut += 1) {
    const [head, tail] = [folded.slice(0, cut), folded.slice(cut)];
    if (!list.has(head) && !list.has(plain(head))) continue;
    if (list.has(tail) || isRun(tail) || /^[^\p{L}]{1,4}$/u.test(tail)) return true;
  }
  return false;
}

function plain(text: string): string {
  return Array.from(text, (character) => lookalikes.get(character) ?? character).join("");
}

/** Every character follows from the one before: "aaaa", "abcd", "4321" (and "890", which goes on at the other end). */
function isRun(text: string): boolean {
  const codes = Array.from(text, (character) => character.codePointAt(0) ?? 0);
  if (codes.length < 3) return false;
  const steps = codes.slice(1).map((code, index) => {
    const step = code - (codes[index] ?? 0);
    return step === -9 ? 1 : step === 9 ? -1 : step;
  });
  return steps.every((step) => step === steps[0]) && Math.abs(steps[0] ?? 2) <= 1;
}

function repeatedUnit(text: string): string | undefined {
  const period = `${text}${text}`.indexOf(text, 1);
  return period < text.length ? text.slice(0, period) : undefined;
}
