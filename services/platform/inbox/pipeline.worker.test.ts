import { expect, test } from "vitest";
import { createEventKit, eventually } from "../testing/event-kit.ts";
import { consume, expectExactlyOnceInOrder, manyKeys } from "../testing/test-consumer.ts";
import { systemClock } from "../time/clock.ts";
import { listDeadLetters } from "./dead-letters.ts";
import type { ReceivedEvent } from "./received-event.ts";

test("a batch that fails when the next one is on its way is taken up before it", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await kit.append(manyKeys(600, 3));
  await eventually(async () => (await kit.unpublished()) === 0, "published");
  let [running, together, failures] = [0, 0, 0];
  await using consumer = await consume(kit, {
    apply: async (_tx, events, batch) => {
      running += 1;
      batch.locked();
      // Until the next one has come this far too, where there is one.
      for (let turn = 0; turn < 50 && running < 2; turn += 1) await systemClock.sleep(2);
      together = Math.max(together, running);
      running -= 1;
      // The first of two, every other time: the second one's transaction has to be undone with it.
      if (events.length > 1 && failures < 4) {
        failures += 1;
        throw new Error("not now");
      }
      await batch.predecessor();
    },
  });
  await eventually(() => consumer.applied.length >= 600, "everything applied");
  expectExactlyOnceInOrder(consumer.applied, 600);
  expect(together).toBe(2);
  expect(await listDeadLetters(kit.operator)).toEqual([]);
});

test("work after a commit that throws holds nothing up and repeats nothing", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await kit.append(manyKeys(600, 3));
  await eventually(async () => (await kit.unpublished()) === 0, "published");
  const effects: ReceivedEvent[] = [];
  let failures = 0;
  await using _consumer = await consume(kit, {
    apply: async (_tx, events, batch) => {
      batch.afterCommit(() => {
        effects.push(...events);
        failures += 1;
        if (failures % 2 === 1 && failures < 6) throw new Error("not now");
      });
    },
  });
  await eventually(() => effects.length >= 600, "everything applied");
  expectExactlyOnceInOrder(effects, 600);
  expect(await listDeadLetters(kit.operator)).toEqual([]);
});
