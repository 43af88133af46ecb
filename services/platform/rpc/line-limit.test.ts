import { expect, test } from "vitest";
import { createLogger } from "#platform/log/logger.ts";
import { createLineLimit, LINES_PER_WINDOW } from "./line-limit.ts";

test("of many alike calls a few have a line of their own, and one line says how many the others were", async () => {
  const lines: Record<string, unknown>[] = [];
  const log = createLogger("test", "info", { write: (line) => void lines.push(JSON.parse(line)) });
  const hasOwnLine = createLineLimit(log);
  const kind = { rpc: "x.X/Y", code: "CANCELLED", reason: undefined, host: "192.0.2.1" };
  const own = Array.from({ length: 300 }, () => hasOwnLine(kind)).filter((isOwn) => isOwn);
  expect(own).toHaveLength(LINES_PER_WINDOW);
  // Another address, another code or another reason is not drowned.
  const others = [{ host: "192.0.2.2" }, { code: "INTERNAL" }, { reason: "OVERLOADED" }];
  for (const other of others) expect(hasOwnLine({ ...kind, ...other })).toBe(true);
  await expect.poll(() => lines.length, { timeout: 20_000 }).toBe(1);
  expect(lines[0]).toMatchObject({ rpc: "x.X/Y", code: "CANCELLED", host: "192.0.2.1", calls: 300 - LINES_PER_WINDOW });
  expect(hasOwnLine(kind)).toBe(true);
});
