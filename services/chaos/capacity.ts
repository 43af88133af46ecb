import { median } from "#platform/testing/median.ts";
import type { History } from "./history.ts";
import { pause } from "./workload/ask.ts";
import { WHOLE_UPLOAD } from "./workload/gateway.ts";
import type { Pace } from "./workload/load-context.ts";

const FIRST_PER_S = 8;
const STEP = 1.3;
const LEAST_PER_S = 0.5;
const MOST_PER_S = 2_000;
const HALF_STEP_MS = 4_000;
const REST_MS = 5_000;
/** Of an upload that was due meanwhile, in the middle: beyond this a queue grows. */
const MOST_WAIT_MS = 1_000;
const LEAST_SHARE = 0.9;
const never = new AbortController().signal;

export function paceOf(perSecond: number, gateways: number): Pace {
  return { intervalMs: (1_000 * gateways) / perSecond, fromMs: performance.now() };
}

/**
 * Uploads per second that the machine keeps up with, the load on it included: they begin at fixed times, more in each
 * step, until they are twice not served as fast as they come. What the system is left with is the first pace, for a moment.
 */
export async function findCapacity(
  pace: Pace,
  gateways: number,
  history: History,
  say: (line: string) => void,
): Promise<number> {
  const tryOut = async (perSecond: number) => {
    Object.assign(pace, paceOf(perSecond, gateways));
    await pause(HALF_STEP_MS, never);
    const before = { atMs: performance.now(), answered: answered(history), uploads: history.latencies.length };
    await pause(HALF_STEP_MS, never);
    const rate = ((answered(history) - before.answered) / (performance.now() - before.atMs)) * 1_000;
    const uploads = history.latencies.slice(before.uploads).filter(({ rpc }) => rpc === WHOLE_UPLOAD);
    const waitMs = median(uploads.map(({ tookMs }) => tookMs));
    say(`${perSecond.toFixed(1)} uploads per second: ${rate.toFixed(1)} answered, ${waitMs.toFixed(0)} ms each`);
    return rate >= LEAST_SHARE * perSecond && waitMs <= MOST_WAIT_MS;
  };
  const rest = async () => {
    Object.assign(pace, paceOf(FIRST_PER_S / 2, gateways));
    await pause(REST_MS, never);
  };
  const isKept = async (perSecond: number) => {
    if (await tryOut(perSecond)) return true;
    await rest();
    return await tryOut(perSecond);
  };
  await rest(); // the first users come, code and caches warm up
  let kept = 0;
  for (let next = FIRST_PER_S; next <= MOST_PER_S && (await isKept(next)); next *= STEP) kept = next;
  await rest();
  if (kept > 0) return kept;
  for (let next = FIRST_PER_S / 2; next >= LEAST_PER_S; next /= 2) if (await isKept(next)) return next;
  throw new Error(`the machine does not keep up with ${LEAST_PER_S} uploads per second: it is too busy for this`);
}

function answered({ calls }: History): number {
  return (calls.get("PlaceChunks acknowledged") ?? 0) + (calls.get("PlaceChunks refused") ?? 0);
}
