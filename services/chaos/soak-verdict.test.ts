import { expect, test } from "vitest";
import { growth as growthOf, type Latency, type Probe, type Sample } from "./soak-verdict.ts";

const DURATION_MS = 100_000;
const moments = Array.from({ length: 101 }, (_, index) => index * 1_000);

function samples(change: (atMs: number) => Partial<Sample> = () => ({})): Sample[] {
  const at = (atMs: number) => ({
    atMs,
    process: "auth",
    pid: 7,
    residentMiB: 200,
    handles: 60,
    processorMs: atMs / 10,
  });
  return moments.map((atMs) => ({ ...at(atMs), ...change(atMs) }));
}

function probes(tookMs: (atMs: number) => number = () => 4): Probe[] {
  return moments.map((atMs) => ({ atMs, tookMs: tookMs(atMs) }));
}

function growth(ofSamples: Sample[], ofLatencies: Latency[], durationMs: number, ofProbes = probes()): string[] {
  return growthOf(ofSamples, ofLatencies, ofProbes, durationMs);
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

test("calls that get slower with the machine are no fault of ours, and those that get slower faster are", () => {
  const busier = (atMs: number) => (atMs < DURATION_MS / 2 ? 1 : 3);
  const slowMachine = probes((atMs) => 4 * busier(atMs));
  const asSlow = latencies((atMs) => 50 * busier(atMs));
  const slower = latencies((atMs) => 50 * busier(atMs) ** 2);
  expect(growth(samples(), asSlow, DURATION_MS, slowMachine)).toEqual([]);
  expect(growth(samples(), asSlow, DURATION_MS).join()).toMatch(/Login: median latency/);
  expect(growth(samples(), slower, DURATION_MS, slowMachine).join()).toMatch(/Login: median latency/);
});

test("a service whose calls cost ever more finds no excuse in the machine that it slows down itself", () => {
  const costlier = samples((atMs) => ({ processorMs: atMs ** 2 / 100_000 }));
  const calls = latencies((atMs) => 50 + atMs / 1_000);
  const problems = growth(
    costlier,
    calls,
    DURATION_MS,
    probes((atMs) => 4 + atMs / 10_000),
  );
  expect(problems.join()).toMatch(/auth: processor ms per call/);
});

test("a run without a probe of the machine proves nothing", () => {
  expect(growth(samples(), [], DURATION_MS, [])).toEqual(["the machine was not probed all along"]);
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
