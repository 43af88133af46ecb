import { setTimeout as sleep } from "node:timers/promises";

export interface ReadRate {
  /** Resolves when these bytes have been paid for; undefined where that is at once. Whoever pays first is served first. */
  pay(bytes: number): Promise<void> | undefined;
  /** How long until nothing is owed. */
  debtMs(): number;
}

/** So many bytes a second, of which a second's worth may come at once. */
export function createReadRate(bytesPerSecond: number, nowMs = () => performance.now()): ReadRate {
  let paidUntilMs = 0;
  return {
    pay: (bytes) => {
      const now = nowMs();
      paidUntilMs = Math.max(now, paidUntilMs) + (bytes / bytesPerSecond) * 1_000;
      const waitMs = paidUntilMs - now - 1_000;
      return waitMs <= 0 ? undefined : sleep(waitMs);
    },
    debtMs: () => paidUntilMs - nowMs(),
  };
}
