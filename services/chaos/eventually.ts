import { pause } from "./workload/ask.ts";

const never = new AbortController().signal;

/** Looks until it holds; answers what was still missing when the time was over. */
export async function eventually(
  limitMs: number,
  missing: () => Promise<string | undefined>,
): Promise<string | undefined> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    let reason: string | undefined;
    try {
      reason = await missing();
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error);
    }
    if (reason === undefined || performance.now() > deadline) return reason;
    await pause(300, never);
  }
}
