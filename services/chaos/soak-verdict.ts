import { median } from "#platform/testing/median.ts";
/** What a process held at one moment. */
export interface Sample {
  readonly atMs: number;
  readonly process: string;
  readonly pid: number;
  readonly residentMiB: number;
  /** Open files and sockets. */
  readonly handles: number;
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
const FEWEST_CALLS = 30;

/**
 * What grew. The second quarter of the run is compared with the last: the first is warming up, and between the two a
 * leak has half of the run to show. Medians, so that one busy moment of the machine decides nothing.
 */
export function growth(samples: readonly Sample[], latencies: readonly Latency[], durationMs: number): string[] {
  const early = <T extends { readonly atMs: number }>(items: readonly T[]) => between(items, 1 / 4, 1 / 2, durationMs);
  const late = <T extends { readonly atMs: number }>(items: readonly T[]) => between(items, 3 / 4, 1, durationMs);
  const problems: string[] = [];
  const compare = (what: string, before: readonly number[], after: readonly number[], noise: number) => {
    const [from, to] = [median(before), median(after)];
    if (to > from * MOST_GROWTH + noise) problems.push(`${what} grew from ${from.toFixed(0)} to ${to.toFixed(0)}`);
  };
  for (const [process, own] of Map.groupBy(samples, (sample) => sample.process)) {
    if (new Set(own.map(({ pid }) => pid)).size > 1) problems.push(`${process} was started again`);
    const [before, after] = [early(own), late(own)];
    if (before.length === 0 || after.length === 0) problems.push(`${process} was not looked at all along`);
    const memory = (sample: Sample) => sample.residentMiB;
    compare(`${process}: memory in MiB`, before.map(memory), after.map(memory), MIB_OF_NOISE);
    const handles = (sample: Sample) => sample.handles;
    compare(`${process}: handles`, before.map(handles), after.map(handles), HANDLES_OF_NOISE);
  }
  for (const [rpc, own] of Map.groupBy(latencies, (latency) => latency.rpc)) {
    const [before, after] = [early(own), late(own)].map((items) => items.map(({ tookMs }) => tookMs));
    if (before === undefined || after === undefined || Math.min(before.length, after.length) < FEWEST_CALLS) continue;
    compare(`${rpc}: median latency in ms`, before, after, MS_OF_NOISE);
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
