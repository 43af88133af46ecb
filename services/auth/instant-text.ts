import { z } from "zod";

// PostgreSQL reads years before and after these, but not in this notation.
const first = Temporal.Instant.from("0001-01-01T00:00:00Z");
const last = Temporal.Instant.from("9999-12-31T23:59:59Z");

/** An instant in a page token. */
export const zInstantText = z.string().transform((text, ctx) => {
  try {
    const instant = Temporal.Instant.from(text);
    const isInRange = Temporal.Instant.compare(first, instant) <= 0 && Temporal.Instant.compare(instant, last) <= 0;
    if (isInRange) return instant;
  } catch {
    // Answered below, like an instant that no row can have.
  }
  ctx.addIssue({ code: "custom", message: "must be an instant" });
  return z.NEVER;
});
