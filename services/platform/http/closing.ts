import type { InFlight } from "#platform/rpc/in-flight.ts";

// For the last bytes of the last answers to be sent, once no call is left.
const LINGER_MS = 500;

export interface CloseOptions {
  /** For calls in flight; what is left after it is cut. */
  readonly graceMs: number;
  readonly calls: Pick<InFlight, "count" | "idle">;
}

/**
 * Waits until a server has closed by itself, and cuts its connections when that takes too long: when the grace is over,
 * or soon after the last call has ended. Then only peers are left that do not close their side, such as dead ones. A
 * request that was on its way when the last call ended has become a call by then, and is waited for as well.
 */
export async function closeWithin(
  closed: Promise<void>,
  cut: () => void,
  { graceMs, calls }: CloseOptions,
): Promise<void> {
  const grace = setTimeout(cut, graceMs);
  let linger: NodeJS.Timeout | undefined;
  let isClosed = false;
  const cutWhenIdle = async (): Promise<void> => {
    await calls.idle();
    if (isClosed) return;
    linger = setTimeout(() => (calls.count === 0 ? cut() : void cutWhenIdle()), Math.min(LINGER_MS, graceMs));
  };
  void cutWhenIdle();
  await closed;
  isClosed = true;
  clearTimeout(grace);
  clearTimeout(linger);
}
