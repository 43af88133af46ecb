/** What may be told of a text, besides the field: the rule that it breaks, or the place where it stops being JSON. */
const RULE =
  /^: ((?:list item #\d+: )?(?:expected [\w.]+(?: [\w.]+)?(?: \(\w+\))?|set multiple times|invalid RFC 3339 string|maximum recursion depth of \d+ reached|Unexpected end of JSON input))/;
const PLACE = / (at position \d+ \(line \d+ column \d+\))$/;
const MISTAKE = /^(cannot decode (?:message|field|enum|oneof) [\w.]+ from JSON)(.*)$/s;

/**
 * What the parser says of a message that it cannot read, without what it read: it quotes the value that does not fit and
 * the text around a syntax error, which are a password where somebody forgot its quotes, and go to the log.
 */
export function withoutValues(message: string): string {
  const [, mistake, said = ""] = MISTAKE.exec(message) ?? [];
  if (mistake === undefined) return message;
  const told = (RULE.exec(said) ?? PLACE.exec(said))?.[1];
  return told === undefined ? mistake : `${mistake}: ${told}`;
}
