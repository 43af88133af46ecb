import { readdirSync } from "node:fs";
import { open } from "node:fs/promises";
import { Registry } from "prom-client";
import { expect, test } from "vitest";
import { addProcessMetrics } from "./process-metrics.ts";

test("open files are counted, and nothing that lists every connection", async () => {
  const registry = new Registry();
  addProcessMetrics(registry);
  const files = await Promise.all(Array.from({ length: 500 }, () => open("/dev/null")));
  const text = await registry.metrics();
  const listed = readdirSync("/dev/fd").length;
  await Promise.all(files.map((file) => file.close()));
  expect(text).toContain("nodejs_eventloop_lag_p99_seconds");
  expect(text).toContain("nodejs_gc_duration_seconds");
  expect(text).toContain("process_resident_memory_bytes");
  expect(text).not.toMatch(/nodejs_active_(handles|resources)/);
  if (process.platform !== "linux") return;
  const counted = Number(/^process_open_fds (\d+)$/m.exec(text)?.[1]);
  expect(counted).toBeGreaterThanOrEqual(500);
  expect(Math.abs(counted - listed)).toBeLessThan(50);
});
