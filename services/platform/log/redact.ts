/**
 * Takes secrets out of a finished log line. Working on the serialized text covers every place at once: messages, error
 * chains, stacks, child bindings, nested objects.
 */
export function redact(line: string): string {
  if (!suspicious.test(line)) return line;
  return rules.reduce((text, [pattern, replacement]) => text.replace(pattern, replacement), line);
}

/** What every rule below needs to find. Most lines have none of it, and this is several times faster than the rules. */
const suspicious = /passw|pwd|secret|token|authorization|cookie|credential|private|api_?key|:\/\/|bearer|basic|eyJ/i;

const rules: readonly (readonly [RegExp, string])[] = [
  // Fields by name. Identifiers and expiry times of tokens are no secrets and are needed in logs.
  [
    /"([A-Za-z0-9_.-]{0,64}(?:passw(?:or)?d|secret|token|authorization|cookie|credential|private_?key|api_?key)(?![A-Za-z_]{0,24}(?:id|ids|at|type|count|ms)")[A-Za-z0-9_-]{0,32})":(?:"(?:[^"\\]|\\.)*"|\[(?:"(?:[^"\\]|\\.)*",?)*\]|\d+)/gi,
    '"$1":"[redacted]"',
  ],
  // The user and password of any URL: postgres://user:password@host, nats://token@host.
  [/\b([a-z][a-z0-9+.-]{1,20}:\/\/)[^\s/?#"\\@]{0,256}@/gi, "$1[redacted]@"],
  [/\b(Bearer|Basic)\s+[A-Za-z0-9._~+/-]{8,}=*/gi, "$1 [redacted]"],
  [/\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?/g, "[redacted]"],
  // key=value texts: connection keywords, environment dumps.
  [
    /\b((?:[A-Z0-9_]{0,64}_)?(?:password|passwd|pwd|secret|token))(\s?=\s?)(\\"|')?[^\s"'\\,;&)]+/gi,
    "$1$2$3[redacted]",
  ],
  [
    /-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----(?:[^-]|-(?!----))*(?:-----END [A-Z ]{0,20}PRIVATE KEY-----)?/g,
    "[redacted]",
  ],
];
