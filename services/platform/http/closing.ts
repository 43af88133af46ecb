// For the last bytes of the last answers to be sent, once no call is left.
const LINGER_MS = 500;

export interface CloseOptions {
  /** For calls in flight; what is left after it is cut. */
  readonly graceMs: number;
  /** Resolves when no call is in flight any more. */
  readonly idle: Promise<void>;
}

/**
 * Waits until a server has closed by itself, and cuts its connections when that takes too long: when the grace is over,
 * or soon after the last call has ended. Then only peers are left that do not close their side, such as dead ones.
 */
export async function closeWithin(closed: Promise<void>, cut: () => void, options: CloseOptions): Promise<void> {
  const timers = [setTimeout(cut, options.graceMs)];
  void options.idle.then(() => timers.push(setTimeout(cut, Math.min(LINGER_MS, options.graceMs))));
  await closed;
  for (const timer of timers) clearTimeout(timer);
}
