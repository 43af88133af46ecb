import { globSync, readFileSync } from "node:fs";

/**
 * Statements that leave something behind in their session. Connections go back to the pool as they are, because
 * DISCARD ALL on each release halves the throughput, so the next caller would meet it.
 */
const leaving: readonly [RegExp, string][] = [
  [
    /`\s*set\s+(?!local\b|transaction\b|constraints\b)(?:session\s+)?(?:role\b|[a-z_.]+\s*(?:=|to\s))/i,
    "use set local inside a transaction",
  ],
  [/\bpg_(?:try_)?advisory_lock(?:_shared)?\s*\(/i, "use pg_advisory_xact_lock, or a lease row"],
  [/`\s*(?:un)?listen\s/i, "a listening session needs a connection of its own"],
  [/\bcreate\s+temp(?:orary)?\s/i, "use a common table expression"],
  [/`\s*(?:prepare|declare|discard)\s/i, "use sql.prepared, or page by key"],
];

/** Where a connection belongs to the caller alone, and the pool itself. */
const exempt = /^services\/(platform\/(postgres|migrations|testing)|dev|bench|chaos)\/|\.test\.ts$/;

/** One line per statement in the services that must not run on a pooled connection. */
export function findSessionState(): readonly string[] {
  const files = globSync("services/**/*.ts").filter((file) => !exempt.test(file));
  if (files.length === 0) return ["no service was read"];
  return files.flatMap((file) =>
    readFileSync(file, "utf8")
      .split("\n")
      .flatMap((line, index) =>
        leaving.filter(([pattern]) => pattern.test(line)).map(([, cure]) => `${file}:${index + 1}: ${cure}`),
      ),
  );
}
