const MOST_AHEAD_MS = 20 * 60_000;

/**
 * What is dated later than this was written while a clock was wrong, and is not waited for: a user or an address would be
 * locked out, and a key kept, until then.
 */
export function latestCredible(now: Temporal.Instant): Temporal.Instant {
  return now.add({ milliseconds: MOST_AHEAD_MS });
}

export function isFarAhead(instant: Temporal.Instant, now: Temporal.Instant): boolean {
  return Temporal.Instant.compare(instant, latestCredible(now)) > 0;
}
