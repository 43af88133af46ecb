import { UsageError } from "../../db/target.ts";

/** The time that `--since` names. @throws UsageError */
export function sinceFrom(text: string): Temporal.Instant {
  try {
    return Temporal.Instant.from(text);
  } catch {
    throw new UsageError(`--since must be a time such as 2026-01-31T12:00:00Z, not "${text}"`);
  }
}
