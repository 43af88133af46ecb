import { z } from "zod";

/** An instant in a page token. */
export const zInstantText = z.string().transform((text, ctx) => {
  try {
    return Temporal.Instant.from(text);
  } catch {
    ctx.addIssue({ code: "custom", message: "must be an instant" });
    return z.NEVER;
  }
});
