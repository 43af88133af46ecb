import { createHash } from "node:crypto";
import { cpus } from "node:os";
import { median } from "#platform/testing/median.ts";
import { findCapacity, paceOf } from "./capacity.ts";
import { serviceNames } from "./fault-plan.ts";
import type { History } from "./history.ts";
import type { Plane } from "./plane/plane.ts";
import { handlesOf, processorMs, residentMiB, treeOf } from "./plane/process-tree.ts";
import { rotateDays } from "./rotation.ts";
import type { ChaosOptions } from "./run.ts";
import { growth, type Probe, type Sample } from "./soak-verdict.ts";
import { pause } from "./workload/ask.ts";

const ROTATIONS = 20;

/**
 * No faults at all: half of what the machine keeps up with, all processes and the load itself included, goes on, and
 * nothing may grow.
 */
export function soakWatch(
  say: (line: string) => void,
  gateways: number,
): Required<Pick<ChaosOptions, "disturb" | "pace">> {
  const pace = paceOf(1, gateways);
  return {
    pace,
    disturb: async (plane: Plane, history: History, durationMs: number) => {
      const capacity = await findCapacity(pace, gateways, history, say);
      Object.assign(pace, paceOf(capacity / 2, gateways));
      say(`the capacity is ${capacity.toFixed(1)} uploads per second: half of it from now on`);
      const samples: Sample[] = [];
      const probes: Probe[] = [];
      const rotationProblems: string[] = [];
      const rotatedTables = new Set<string>();
      let rotations = 0;
      const startedAtMs = Date.now();
      const before = processorTimes();
      const everyMs = Math.max(1_000, durationMs / 200);
      for (let atMs = 0; atMs < durationMs; atMs = Date.now() - startedAtMs) {
        samples.push(...(await sampleAll(plane, atMs)));
        probes.push(probe(atMs));
        if (atMs >= ((rotations + 1) * durationMs) / (ROTATIONS + 1)) {
          rotations += 1;
          const rotated = await rotateDays(plane.stores.operatorUrl);
          rotationProblems.push(...rotated.problems);
          for (const table of rotated.tables) rotatedTables.add(table);
        }
        await pause(everyMs, new AbortController().signal);
      }
      const after = processorTimes();
      const busyShare = 1 - (after.idle - before.idle) / (after.all - before.all);
      say(`the machine was busy for ${Math.round(100 * busyShare)} % of the time`);
      const latencies = history.latencies
        .map((one) => ({ ...one, atMs: one.atMs - startedAtMs }))
        .filter(({ atMs }) => atMs >= 0);
      for (const [process, own] of Map.groupBy(samples, (sample) => sample.process)) {
        const span = (of: (sample: Sample) => number) => `${Math.min(...own.map(of))} to ${Math.max(...own.map(of))}`;
        say(`${process}: ${span((one) => one.residentMiB)} MiB, ${span((one) => one.handles)} handles`);
      }
      for (const [rpc, own] of Map.groupBy(latencies, (latency) => latency.rpc)) {
        say(`${rpc}: ${own.length} calls, median ${median(own.map(({ tookMs }) => tookMs)).toFixed(1)} ms`);
      }
      say(`the same piece of work took ${median(probes.map(({ tookMs }) => tookMs)).toFixed(1)} ms beside the load`);
      say(`${rotations} times a day or month passed under load, of ${[...rotatedTables].join(", ")}`);
      if (rotations === 0) rotationProblems.push("no day passed");
      return [...growth(samples, latencies, probes, durationMs), ...rotationProblems];
    },
  };
}

/** Milliseconds of all processors since the system started. */
function processorTimes(): { readonly idle: number; readonly all: number } {
  const times = cpus().map((one) => one.times);
  return {
    idle: times.reduce((sum, { idle }) => sum + idle, 0),
    all: times.reduce((sum, { user, nice, sys, idle, irq }) => sum + user + nice + sys + idle + irq, 0),
  };
}

const WORK = Buffer.alloc(256 * 1_024, 7);

function probe(atMs: number): Probe {
  const startedAt = performance.now();
  for (let round = 0; round < 12; round += 1) createHash("sha256").update(WORK).digest();
  return { atMs, tookMs: performance.now() - startedAt };
}

async function sampleAll(plane: Plane, atMs: number): Promise<Sample[]> {
  const single = [...serviceNames, "nats" as const].map((process) => {
    const pid = plane.pidOf(process);
    return {
      atMs,
      process,
      pid,
      residentMiB: residentMiB(pid),
      handles: handlesOf(pid),
      processorMs: processorMs(pid),
    };
  });
  // Of PostgreSQL the number of its processes tells: each connection is one.
  const pid = plane.pidOf("postgres");
  const connections = (await treeOf(pid)).length;
  const ofPostgres = { atMs, process: "postgres", pid, residentMiB: residentMiB(pid), handles: connections };
  // The backends' processor time ends with them; the parent's alone says nothing and cannot grow.
  return [...single, { ...ofPostgres, processorMs: 0 }];
}
