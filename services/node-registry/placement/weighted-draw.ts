import type { Range } from "./roster.ts";

/** Running sums over the positions of a roster: sums[i] is the weight, counts[i] the number, of nodes before position i. */
export interface Sums {
  readonly sums: Float64Array;
  readonly counts: Int32Array;
}

export function totalWeight({ sums }: Sums): number {
  return sums.at(-1) ?? 0;
}

/**
 * Draws a position outside of the given ranges by weight; undefined where they leave nobody. Exact, and a binary search
 * also among a hundred thousand nodes. `random` gives 0 to 1.
 */
export function drawOutside(weights: Sums, excluded: readonly Range[], random: () => number): number | undefined {
  const { sums, counts } = weights;
  const gaps = merged(excluded);
  let count = counts.at(-1) ?? 0;
  let weight = totalWeight(weights);
  for (const { start, end } of gaps) {
    count -= (counts[end] ?? 0) - (counts[start] ?? 0);
    weight -= (sums[end] ?? 0) - (sums[start] ?? 0);
  }
  if (count <= 0) return undefined;
  let point = random() * weight;
  for (const { start, end } of gaps) {
    if (point < (sums[start] ?? 0)) break;
    point += (sums[end] ?? 0) - (sums[start] ?? 0);
  }
  return nearestAllowed(counts, positionAt(sums, point), gaps);
}

/** The position whose weight covers the point. */
function positionAt(sums: Float64Array, point: number): number {
  let low = 0;
  let high = sums.length - 2;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sums[middle + 1] ?? 0) <= point) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Rounding of the sums can put a point on an edge: then the nearest one that counts and is not left out is meant. */
function nearestAllowed(counts: Int32Array, position: number, gaps: readonly Range[]): number {
  const isAllowed = (at: number) =>
    counts[at + 1] !== counts[at] && !gaps.some(({ start, end }) => at >= start && at < end);
  for (let distance = 0; distance < counts.length; distance += 1) {
    if (position + distance < counts.length - 1 && isAllowed(position + distance)) return position + distance;
    if (position - distance >= 0 && isAllowed(position - distance)) return position - distance;
  }
  return position;
}

function merged(ranges: readonly Range[]): readonly Range[] {
  if (ranges.length < 2) return ranges;
  const sorted = ranges.toSorted((a, b) => a.start - b.start || b.end - a.end);
  const result: { start: number; end: number }[] = [];
  for (const range of sorted) {
    const last = result.at(-1);
    if (last !== undefined && range.start <= last.end) last.end = Math.max(last.end, range.end);
    else result.push({ ...range });
  }
  return result;
}
