/** The middle one, the upper of two; NaN of none, so that a figure that is missing never passes for a good one. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
