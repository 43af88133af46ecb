import fc from "fast-check";
import { expect, test } from "vitest";
import { createSendQueue, type Queued } from "./send-queue.ts";

const rows = (...keys: string[]): Queued[] => keys.map((key, index) => ({ id: BigInt(index + 1), key }));

test("different keys go together, rows of one key one after the other", () => {
  const queue = createSendQueue<Queued>();
  queue.add(rows("a", "a", "b"));
  const first = queue.take(10);
  expect(first.map(({ id }) => id)).toEqual([1n, 3n]);
  expect(queue.take(10)).toEqual([]);
  for (const row of first) queue.acknowledged(row);
  expect(queue.take(10).map(({ id }) => id)).toEqual([2n]);
});

test("a failed row takes the rest of its key out of memory, and leaves other keys", () => {
  const queue = createSendQueue<Queued>();
  queue.add(rows("a", "a", "b"));
  const [a] = queue.take(1);
  if (a === undefined) throw new Error("nothing was ready");
  queue.failed(a);
  expect(queue.heldIds()).toEqual([3n]);
  queue.add(rows("a", "a"));
  expect(queue.take(10).map(({ id }) => id)).toEqual([3n, 1n]);
});

test("acknowledged rows stay held until they are forgotten, so that no reading brings them again", () => {
  const queue = createSendQueue<Queued>();
  queue.add(rows("a"));
  for (const row of queue.take(1)) queue.acknowledged(row);
  queue.add(rows("a"));
  expect(queue.take(1)).toEqual([]);
  queue.forget([1n]);
  expect(queue.size).toBe(0);
});

test("whatever fails and whenever it is read again, first publications of a key are in order and never two in flight", () => {
  const step = fc.record({ take: fc.integer({ min: 1, max: 4 }), fail: fc.boolean(), mark: fc.boolean() });
  const keys = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(keys, fc.array(step, { maxLength: 60 }), (names, steps) => {
      const table = rows(...names);
      const published = new Set<bigint>();
      const firstTimes: Queued[] = [];
      const queue = createSendQueue<Queued>();
      let flying: Queued[] = [];
      const read = () => queue.add(table.filter(({ id }) => !published.has(id) && !queue.heldIds().includes(id)));
      for (const { take, fail, mark } of [...steps, ...names.map(() => ({ take: 9, fail: false, mark: true }))]) {
        read();
        flying.push(...queue.take(take));
        expect(new Set(flying.map(({ key }) => key)).size).toBe(flying.length);
        const [row] = flying;
        if (row === undefined) continue;
        flying = flying.slice(1);
        if (fail) queue.failed(row);
        else {
          queue.acknowledged(row);
          firstTimes.push(row);
          // Marked in the database, then forgotten; until then the reading leaves it out.
          if (mark) {
            published.add(row.id);
            queue.forget([row.id]);
          }
        }
      }
      for (const key of new Set(names)) {
        const ids = firstTimes.filter((row) => row.key === key).map(({ id }) => id);
        expect(ids).toEqual(ids.toSorted((a, b) => Number(a - b)));
      }
    }),
  );
});
