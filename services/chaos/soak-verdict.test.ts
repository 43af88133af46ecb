import { expect, test } from "vitest";
import { growth, type Latency, type Sample } from "./soak-verdict.ts";

const DURATION_MS = 100_000;
const moments = Array.from({ length: 101 }, (_, index) => index * 1_000);

function samples(change: (atMs: number) => Partial<Sample> = () => ({})): Sample[] {
  return moments.map((atMs) => ({ atMs, process: "auth", pid: 7, residentMiB: 200, handles: 60, ...change(atMs) }));
}

function latencies(tookMs: (atMs: number) => number): Latency[] {
  return moments.flatMap((atMs) => [0, 1].map(() => ({ rpc: "Login", atMs, tookMs: tookMs(atMs) })));
}

test("a flat run has grown nowhere, whatever its first quarter did", () => {
  const warmingUp = (atMs: number) => (atMs < DURATION_MS / 4 ? 1_000 : 30);
  expect(growth(samples(), latencies(warmingUp), DURATION_MS)).toEqual([]);
  expect(
    growth(
      samples((atMs) => ({ residentMiB: 200 + Math.sin(atMs) * 20 })),
      [],
      DURATION_MS,
    ),
  ).toEqual([]);
});

test("a leak of memory, of handles, and calls that get slower are named", () => {
  const leaking = samples((atMs) => ({ residentMiB: 200 + atMs / 500, handles: 60 + atMs / 1_000 }));
  const problems = growth(
    leaking,
    latencies((atMs) => 20 + atMs / 500),
    DURATION_MS,
  );
  expect(problems).toHaveLength(3);
  expect(problems.join()).toMatch(/auth: memory.*auth: handles.*Login: median latency/);
});

test("a process that was started again or was not looked at proves nothing", () => {
  expect(
    growth(
      samples((atMs) => ({ pid: atMs < 50_000 ? 7 : 8 })),
      [],
      DURATION_MS,
    ),
  ).toEqual(["auth was started again"]);
  expect(growth(samples().slice(0, 40), [], DURATION_MS)).toEqual(["auth was not looked at all along"]);
});
