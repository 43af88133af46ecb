import { setImmediate as nextTurn } from "node:timers/promises";
import type { Clock } from "../time/clock.ts";

interface Sleeper {
  readonly dueAt: number;
  readonly wake: () => void;
}

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  #wallNs: bigint;
  #monotonicMs = 0;
  readonly #sleepers = new Set<Sleeper>();

  constructor(start: Temporal.Instant = Temporal.Instant.from("2026-01-01T00:00:00Z")) {
    this.#wallNs = start.epochNanoseconds;
  }

  now(): Temporal.Instant {
    return Temporal.Instant.fromEpochNanoseconds(this.#wallNs);
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (ms <= 0 || signal?.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const sleeper = { dueAt: this.#monotonicMs + ms, wake: resolve };
    this.#sleepers.add(sleeper);
    const onAbort = () => resolve();
    signal?.addEventListener("abort", onAbort, { once: true });
    await promise;
    signal?.removeEventListener("abort", onAbort);
    this.#sleepers.delete(sleeper);
  }

  /** How many wait at the moment. */
  sleeping(): number {
    return this.#sleepers.size;
  }

  /** Resolves once `count` sleepers wait: a worker that does I/O between its sleeps has come to rest. */
  async untilSleeping(count = 1): Promise<void> {
    while (this.#sleepers.size < count) await nextTurn();
  }

  /**
   * Lets time pass: sleepers wake in the order of their time, each seeing the clock at its own moment, and what they do
   * until their next real wait is done before the next one wakes.
   */
  async advance(ms: number): Promise<void> {
    const target = this.#monotonicMs + ms;
    await nextTurn();
    for (let next = this.#firstDueBy(target); next !== undefined; next = this.#firstDueBy(target)) {
      this.#moveTo(Math.max(next.dueAt, this.#monotonicMs));
      this.#sleepers.delete(next);
      next.wake();
      await nextTurn();
    }
    this.#moveTo(target);
    await nextTurn();
  }

  /** Moves only the wall clock, as a correction of the system's time does. */
  jump(ms: number): void {
    this.#wallNs += BigInt(Math.round(ms * 1e6));
  }

  #firstDueBy(target: number): Sleeper | undefined {
    const due = [...this.#sleepers].filter(({ dueAt }) => dueAt <= target);
    return due.sort((a, b) => a.dueAt - b.dueAt)[0];
  }

  #moveTo(monotonicMs: number): void {
    this.jump(monotonicMs - this.#monotonicMs);
    this.#monotonicMs = monotonicMs;
  }
}
