import { median } from "#platform/testing/median.ts";

/** What a process held at one moment. */
export interface Sample {
  readonly atMs: number;
  readonly process: string;
  readonly pid: number;
  readonly residentMiB: number;
  /** Open files and sockets. */
  readonly handles: number;
  /** Processor time since its start. */
  readonly processorMs: number;
}

/** How long a piece of work that is always the same took beside the load: what the machine had left at that moment. */
export interface Probe {
  readonly atMs: number;
  readonly tookMs: number;
}

export interface Latency {
  readonly rpc: string;
  readonly atMs: number;
  readonly tookMs: number;
}

const MOST_GROWTH = 1.25;
const MIB_OF_NOISE = 24;
const HANDLES_OF_NOISE = 24;
const MS_OF_NOISE = 25;
const PROCESSOR_MS_OF_NOISE = 1.5;
const FEWEST_CALLS = 30;

/**
 * What grew. The second quarter of the run is compared with the last: the first is warming up, and between the two a
 * leak has half of the run to show. Medians, so that one busy moment of the machine decides nothing. Where the machine
 * itself got slower, as the probe tells, latency may grow as much as the probe; processor time per call, which other
 * programs do not lengthen, may not, so that a service that slows the machine down finds no excuse in that.
 */
export function growth(
  samples: readonly Sample[],
  latencies: readonly Latency[],
  probes: readonly Probe[],
  durationMs: number,
): string[] {
  const early = <T extends { readonly atMs: number }>(items: readonly T[]) => between(items, 1 / 4, 1 / 2, durationMs);
  const late = <T extends { readonly atMs: number }>(items: readonly T[]) => between(items, 3 / 4, 1, durationMs);
  const problems: string[] = [];
  const tookMs = (one: { readonly tookMs: number }) => one.tookMs;
  const slowdown = median(late(probes).map(tookMs)) / median(early(probes).map(tookMs));
  if (!(slowdown > 0)) problems.push("the machine was not probed all along");
  const compare = (what: string, before: readonly number[], after: readonly number[], noise: number, excuse = 1) => {
    const [from, to] = [median(before), median(after)];
    if (to > from * MOST_GROWTH * excuse + noise)
      problems.push(`${what} grew from ${from.toFixed(0)} to ${to.toFixed(0)}`);
  };
  for (const [process, own] of Map.groupBy(samples, (sample) => sample.process)) {
    if (new Set(own.map(({ pid }) => pid)).size > 1) problems.push(`${process} was started again`);
    const [before, after] = [early(own), late(own)];
    if (before.length === 0 || after.length === 0) problems.push(`${process} was not looked at all along`);
    const memory = (sample: Sample) => sample.residentMiB;
    compare(`${process}: memory in MiB`, before.map(memory), after.map(memory), MIB_OF_NOISE);
    const handles = (sample: Sample) => sample.handles;
    compare(`${process}: handles`, before.map(handles), after.map(handles), HANDLES_OF_NOISE);
    const perCall = (part: readonly Sample[], calls: number) => {
      const [first, last] = [part.at(0), part.at(-1)];
      return calls < FEWEST_CALLS ? [] : [((last?.processorMs ?? 0) - (first?.processorMs ?? 0)) / calls];
    };
    const [costBefore, costAfter] = [perCall(before, early(latencies).length), perCall(after, late(latencies).length)];
    compare(`${process}: processor ms per call`, costBefore, costAfter, PROCESSOR_MS_OF_NOISE);
  }
  for (const [rpc, own] of Map.groupBy(latencies, (latency) => latency.rpc)) {
    const [before, after] = [early(own), late(own)].map((items) => items.map(tookMs));
    if (before === undefined || after === undefined || Math.min(before.length, after.length) < FEWEST_CALLS) continue;
    compare(`${rpc}: median latency in ms`, before, after, MS_OF_NOISE, Math.max(1, slowdown));
  }
  return problems;
}

function between<T extends { readonly atMs: number }>(
  items: readonly T[],
  from: number,
  to: number,
  durationMs: number,
) {
  return items.filter(({ atMs }) => atMs >= from * durationMs && atMs <= to * durationMs);
}
