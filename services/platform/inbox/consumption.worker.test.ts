import { expect, test } from "vitest";
import { createEventKit, eventually } from "../testing/event-kit.ts";
import { consume } from "../testing/test-consumer.ts";
import { systemClock } from "../time/clock.ts";
import { consumptionOf } from "./consumption.ts";

const users = { stream: "USERS", durable: "user-quota-users" } as const;
const later = { ...systemClock, now: () => systemClock.now().add({ minutes: 2 }) };

test("a consumer has come to the end when nothing waits, nothing is open, and its stream is no newcomer", async () => {
  await using kit = await createEventKit();
  const nats = await kit.connect("user-quota");
  const progress = (clock = later) => consumptionOf({ nats, clock }, users);
  expect(await progress()).toBeUndefined(); // no stream
  await using _relay = kit.relay();
  await kit.append(["one", "two"]);
  await eventually(async () => (await kit.unpublished()) === 0, "published");
  expect(await progress()).toBeUndefined(); // nobody consumes
  const held = Promise.withResolvers<void>();
  const isOpen = Promise.withResolvers<void>();
  await using consumer = await consume(kit, {
    apply: async () => {
      isOpen.resolve();
      await held.promise;
    },
  });
  await isOpen.promise;
  expect(await progress()).toEqual({ end: 2, applied: 0 }); // delivered, not applied
  held.resolve();
  await eventually(async () => (await progress())?.applied === 2, "all is acknowledged");
  expect(consumer.applied).toHaveLength(2);
  expect(await progress(systemClock)).toBeUndefined(); // the outbox may be about to fill it again
  await kit.operator.connection.jetstreamManager().then(({ streams }) => streams.delete("USERS"));
  await eventually(async () => (await progress()) === undefined, "its stream is another one");
});

test("an event that waits after a failure is not applied, although later ones of other keys are", async () => {
  await using kit = await createEventKit();
  const nats = await kit.connect("user-quota");
  await using _relay = kit.relay();
  let isMended = false;
  await using consumer = await consume(kit, {
    retryDelayMs: 200,
    maxTries: 1_000,
    apply: async (_tx, events) => {
      if (!isMended && events.some(({ key }) => key === "bad")) throw new Error("not yet");
    },
  });
  await kit.append(["good", "bad", "other", "another"]);
  const progress = () => consumptionOf({ nats, clock: later }, users);
  await eventually(async () => consumer.applied.length === 3, "the others are applied");
  await eventually(async () => (await progress())?.applied === 1, "the first is acknowledged");
  expect(await progress()).toEqual({ end: 4, applied: 1 });
  isMended = true;
  await eventually(async () => (await progress())?.applied === 4, "the event is applied");
});
