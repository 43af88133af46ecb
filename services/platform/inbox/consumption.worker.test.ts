import { expect, test } from "vitest";
import { createEventKit, eventually } from "../testing/event-kit.ts";
import { consume } from "../testing/test-consumer.ts";
import { systemClock } from "../time/clock.ts";
import { hasConsumedAll } from "./consumption.ts";

const users = { stream: "USERS", durable: "user-quota-users" } as const;
const later = { ...systemClock, now: () => systemClock.now().add({ minutes: 2 }) };

test("a consumer has consumed all when nothing waits, nothing is open, and its stream is no newcomer", async () => {
  await using kit = await createEventKit();
  const nats = await kit.connect("user-quota");
  const hasAll = (clock = later) => hasConsumedAll({ nats, clock }, users);
  expect(await hasAll()).toBe(false); // no stream
  await using _relay = kit.relay();
  await kit.append(["one", "two"]);
  await eventually(async () => (await kit.unpublished()) === 0, "published");
  expect(await hasAll()).toBe(false); // nobody consumes
  const held = Promise.withResolvers<void>();
  const isOpen = Promise.withResolvers<void>();
  await using consumer = await consume(kit, {
    apply: async () => {
      isOpen.resolve();
      await held.promise;
    },
  });
  await isOpen.promise;
  expect(await hasAll()).toBe(false); // delivered, not applied
  held.resolve();
  await eventually(() => hasAll(), "all is acknowledged");
  expect(consumer.applied).toHaveLength(2);
  expect(await hasAll(systemClock)).toBe(false); // the outbox may be about to fill it again
  await kit.operator.connection.jetstreamManager().then(({ streams }) => streams.delete("USERS"));
  await eventually(async () => !(await hasAll()), "its stream is another one");
});
