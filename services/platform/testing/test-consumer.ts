import { expect } from "vitest";
import { type ConsumerOptions, type ReceivedEvent, startConsumer } from "../inbox/consumer.worker.ts";
import { createMetrics } from "../ops/metrics.ts";
import { systemClock } from "../time/clock.ts";
import type { EventKit } from "./event-kit.ts";
import { createTestLogger } from "./test-database.ts";

interface TestConsumer extends AsyncDisposable {
  /** What apply got in transactions that committed. */
  applied: ReceivedEvent[];
  metric(name: string): Promise<number>;
}

/** A consumer of USERS whose batches overlap. */
export async function consume(kit: EventKit, options: Partial<ConsumerOptions> = {}): Promise<TestConsumer> {
  const applied: ReceivedEvent[] = [];
  const metrics = createMetrics("user-quota");
  const consumer = startConsumer({
    nats: await kit.connect("user-quota"),
    pool: await kit.db.pool("user_quota"),
    ...{ schema: "user_quota", stream: "USERS", durable: "user-quota-users", maxBatch: 50, retryDelayMs: 20 },
    ...{ clock: systemClock, log: createTestLogger(), metrics, signal: new AbortController().signal },
    ...options,
    apply: async (tx, events, batch) => {
      await options.apply?.(tx, events, batch);
      batch.locked();
      batch.afterCommit(() => applied.push(...events));
    },
  });
  const metric = async (name: string) => {
    const found = await metrics.registry.getSingleMetric(`decentrastore_${name}`)?.get();
    return found?.values.reduce((sum, { value }) => sum + value, 0) ?? 0;
  };
  return { applied, metric, [Symbol.asyncDispose]: () => consumer[Symbol.asyncDispose]() };
}

export const manyKeys = (count: number, keys: number) =>
  Array.from({ length: count }, (_, index) => `key-${index % keys}`);

export function expectExactlyOnceInOrder(events: readonly ReceivedEvent[], total: number): void {
  const last = new Map<string, bigint>();
  for (const { key, keyVersion } of events) {
    expect(keyVersion, key).toBe((last.get(key) ?? 0n) + 1n);
    last.set(key, keyVersion);
  }
  expect(events).toHaveLength(total);
}
