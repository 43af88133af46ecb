import { expect, test } from "vitest";
import { zInstantText } from "./instant-text.ts";

test("an instant of a row is read to the microsecond", () => {
  expect(zInstantText.parse("2026-01-01T00:00:00.123456Z").toString()).toBe("2026-01-01T00:00:00.123456Z");
});

test.each(["-271821-04-20T00:00:00Z", "+275760-09-13T00:00:00Z", "0000-12-31T23:59:59Z", "tomorrow", ""])(
  "%j is an instant of no row",
  (text) => {
    expect(zInstantText.safeParse(text).success).toBe(false);
  },
);
