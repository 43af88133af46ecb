import fc from "fast-check";
import { expect, test } from "vitest";
import { createSendQueue, type Queued } from "./send-queue.ts";

/** Ids from 1; the versions of each key from 1. */
function rows(...keys: string[]): Queued[] {
  const last = new Map<string, bigint>();
  return keys.map((key, index) => {
    const key_version = (last.get(key) ?? 0n) + 1n;
    last.set(key, key_version);
    return { id: BigInt(index + 1), key, key_version };
  });
}

function queueOf(read: readonly Queued[]) {
  const queue = createSendQueue<Queued>();
  queue.startReading();
  queue.endReading(read);
  return queue;
}

const idsOf = (taken: readonly Queued[]) => taken.map(({ id }) => id);

test("different keys go together, rows of one key one after the other", () => {
  const queue = queueOf(rows("a", "a", "b"));
  const first = queue.take(10);
  expect(idsOf(first)).toEqual([1n, 3n]);
  expect(queue.take(10)).toEqual([]);
  for (const row of first) queue.acknowledged(row);
  expect(idsOf(queue.take(10))).toEqual([2n]);
});

test("a failed row takes the rest of its key out of memory, and leaves other keys", () => {
  const queue = queueOf(rows("a", "a", "b"));
  const [a] = queue.take(1);
  if (a === undefined) throw new Error("nothing was ready");
  queue.failed(a);
  expect(queue.startReading()).toEqual([3n]);
  queue.endReading(rows("a", "a"));
  expect(idsOf(queue.take(10))).toEqual([3n, 1n]);
});

test("acknowledged rows stay held until they are forgotten, so that no reading brings them again", () => {
  const queue = queueOf(rows("a"));
  for (const row of queue.take(1)) queue.acknowledged(row);
  expect(queue.startReading()).toEqual([1n]);
  queue.endReading(rows("a"));
  expect(queue.take(1)).toEqual([]);
  queue.forget([1n]);
  expect(queue.size).toBe(0);
});

test("a reading that began before a row was marked does not bring it again", () => {
  const [row] = rows("a");
  if (row === undefined) throw new Error("no row");
  const queue = createSendQueue<Queued>();
  queue.startReading();
  expect(queue.offer(row)).toBe(true);
  for (const taken of queue.take(1)) queue.acknowledged(taken);
  queue.forget([row.id]);
  queue.endReading([row]);
  expect(queue.take(1)).toEqual([]);
  expect(queue.size).toBe(0);
});

test("a row that was not read is taken only as the next of its key", () => {
  const [a1, a2, a3, b1, b2] = rows("a", "a", "a", "b", "b");
  if (!(a1 && a2 && a3 && b1 && b2)) throw new Error("no rows");
  const queue = createSendQueue<Queued>();
  expect(queue.offer(a2)).toBe(false);
  expect(queue.offer(a1)).toBe(true);
  expect(queue.offer(a3)).toBe(false);
  expect(queue.offer(a2)).toBe(true);
  queue.startReading();
  queue.endReading([b1]);
  for (const row of queue.take(10)) queue.acknowledged(row);
  queue.forget([a1.id, b1.id]);
  expect(queue.offer(b2)).toBe(true);
});

test("once a row of a key has failed, the next must be read", () => {
  const [a1, a2] = rows("a", "a");
  if (!(a1 && a2)) throw new Error("no rows");
  const queue = createSendQueue<Queued>();
  queue.offer(a1);
  for (const row of queue.take(1)) queue.failed(row);
  expect(queue.offer(a2)).toBe(false);
});

test("what waits for a stream that is full must be read again before what follows it", () => {
  const [a1, a2, a3] = rows("a", "a", "a");
  if (!(a1 && a2 && a3)) throw new Error("no rows");
  const queue = queueOf([a1, a2]);
  queue.take(1);
  queue.dropWaiting(() => true);
  expect(queue.offer(a3)).toBe(false);
});

test("whoever commits, whatever fails and whenever it is read, publications of a key are in order, once, and never two in flight", () => {
  const step = fc.oneof(
    // Ours is offered at once or late; another process's is only read.
    fc.record({
      kind: fc.constant("commit" as const),
      key: fc.constantFrom("a", "b"),
      offered: fc.constantFrom("now", "later", "never"),
    }),
    fc.record({ kind: fc.constant("offer" as const) }),
    fc.record({ kind: fc.constantFrom("startReading" as const, "endReading" as const, "mark" as const) }),
    fc.record({ kind: fc.constant("take" as const), limit: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ kind: fc.constant("answer" as const), fails: fc.boolean(), at: fc.nat(9) }),
  );
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 60, size: "max" }), (steps) => {
      const queue = createSendQueue<Queued>();
      const table: Queued[] = [];
      const marked = new Set<bigint>();
      const published: Queued[] = [];
      const toOffer: Queued[] = [];
      const toMark: Queued[] = [];
      const pausedKeys = new Set<string>();
      let reading: Queued[] | undefined;
      let flying: Queued[] = [];
      const startReading = () => {
        pausedKeys.clear();
        const held = new Set(queue.startReading());
        reading = table.filter(({ id }) => !marked.has(id) && !held.has(id));
      };
      const offer = (row: Queued | undefined) => {
        if (row !== undefined && !pausedKeys.has(row.key)) queue.offer(row);
      };
      const endReading = () => {
        queue.endReading((reading ?? []).filter(({ key }) => !pausedKeys.has(key)));
        reading = undefined;
      };
      const take = (limit: number) => {
        flying.push(...queue.take(limit));
        expect(new Set(flying.map(({ key }) => key)).size).toBe(flying.length);
      };
      const answer = (at: number, fails: boolean) => {
        const row = flying[at % Math.max(1, flying.length)];
        if (row === undefined) return;
        flying = flying.filter((other) => other !== row);
        if (fails) {
          queue.failed(row);
          pausedKeys.add(row.key);
        } else {
          queue.acknowledged(row);
          published.push(row);
          toMark.push(row);
        }
      };
      const mark = () => {
        for (const { id } of toMark) marked.add(id);
        queue.forget(idsOf(toMark.splice(0)));
      };
      for (const step of steps) {
        if (step.kind === "commit") {
          const key_version = BigInt(table.filter(({ key }) => key === step.key).length + 1);
          const row = { id: BigInt(table.length + 1), key: step.key, key_version };
          table.push(row);
          if (step.offered === "now") offer(row);
          else if (step.offered === "later") toOffer.push(row);
        } else if (step.kind === "offer") offer(toOffer.shift());
        else if (step.kind === "startReading" && reading === undefined) startReading();
        else if (step.kind === "endReading" && reading !== undefined) endReading();
        else if (step.kind === "mark") mark();
        else if (step.kind === "take") take(step.limit);
        else if (step.kind === "answer") answer(step.at, step.fails);
      }
      if (reading !== undefined) endReading();
      for (const _ of [...table, undefined]) {
        startReading();
        endReading();
        take(9);
        while (flying.length > 0) answer(0, false);
        mark();
      }
      expect(published).toHaveLength(table.length);
      for (const key of new Set(table.map((row) => row.key))) {
        const versions = published.filter((row) => row.key === key).map(({ key_version }) => key_version);
        expect(versions).toEqual(table.filter((row) => row.key === key).map(({ key_version }) => key_version));
      }
    }),
    { numRuns: 2_000 },
  );
});
