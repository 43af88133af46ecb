import { exec } from "node:child_process";
import { promisify } from "node:util";
import { DiscardPolicy, nanos, type StreamConfig } from "nats";
import { expect, test } from "vitest";
import { createLogger } from "../log/logger.ts";
import { streamConfig } from "../nats/streams.ts";
import { createEventKit, type EventKit, eventually, querySuperuser } from "../testing/event-kit.ts";
import { consume, manyKeys } from "../testing/test-consumer.ts";
import type { ConsumerOptions } from "./consumer.worker.ts";

interface Line {
  level: string;
  repair?: string;
}

/** A kit whose broker forgets ids at once, so that what was published just now can be published again. */
async function createGapKit() {
  const kit = await createEventKit();
  const { streams } = await kit.operator.connection.jetstreamManager();
  await streams.add({ ...streamConfig("USERS"), duplicate_window: nanos(100) });
  const events = async () => {
    const rows = await querySuperuser(kit.db, "select event_id from auth.outbox");
    return rows.map((row) => String(row.event_id));
  };
  return Object.assign(kit, { streams, events });
}

/** A consumer, and what it says of gaps. */
async function listen(kit: EventKit, options: Partial<ConsumerOptions> = {}) {
  const gaps: Line[] = [];
  const write = (text: string) => {
    const line: Line = JSON.parse(text);
    if (line.repair !== undefined) gaps.push(line);
  };
  const consumer = await consume(kit, { log: createLogger("user-quota", "info", { write }), lookMs: 50, ...options });
  const readUpTo = async () => {
    const [row] = await querySuperuser(kit.db, "select read_up_to from user_quota.inbox_positions");
    return Number(row?.read_up_to);
  };
  return Object.assign(consumer, { gaps, readUpTo });
}

async function publish(kit: EventKit, count: number): Promise<void> {
  await kit.append(manyKeys(count, 7));
  await eventually(async () => (await kit.unpublished()) === 0, "published");
}

/** Has a consumer apply so many new events and stop. */
async function read(kit: EventKit, count: number): Promise<string[]> {
  await using consumer = await listen(kit);
  await eventually(() => consumer.applied.length === count, `${count} are applied`);
  expect(consumer.gaps).toEqual([]);
  return consumer.applied.map(({ eventId }) => eventId);
}

type GapKit = Awaited<ReturnType<typeof createGapKit>>;

/** Until the stream has dropped everything up to this number by these limits; then it gets its own limits again. */
async function limit(kit: GapKit, limits: Partial<StreamConfig>, upTo: number): Promise<void> {
  await kit.streams.update("USERS", limits);
  await eventually(async () => (await kit.streams.info("USERS")).state.first_seq > upTo, "dropped");
  const { max_age, discard } = streamConfig("USERS");
  await kit.streams.update("USERS", { max_age: max_age ?? 0, discard: discard ?? DiscardPolicy.New, max_msgs: -1 });
}

/** Each has the stream drop the first 30 of its messages. */
const drops: Record<string, (kit: GapKit) => Promise<unknown>> = {
  age: (kit) => limit(kit, { max_age: nanos(100) }, 30),
  "a limit": async (kit) => {
    await publish(kit, 1);
    await limit(kit, { max_msgs: 1, discard: DiscardPolicy.Old }, 30);
  },
  "a purge": (kit) => kit.streams.purge("USERS"),
};

test.each(Object.entries(drops))(
  "what was dropped unread by %s is told with the repair, which brings it once",
  async (_name, drop) => {
    await using kit = await createGapKit();
    await using _relay = kit.relay();
    await publish(kit, 10);
    const before = await read(kit, 10);
    await publish(kit, 20);
    await drop(kit);
    await publish(kit, 3);
    await using consumer = await listen(kit);
    await eventually(() => consumer.applied.length >= 3, "the later ones are applied");
    expect(consumer.gaps).toMatchObject([
      { level: "error", stream: "USERS", consumer: "user-quota-users", from: 11, to: 30, messages: 20 },
    ]);
    expect(await consumer.metric("inbox_gaps_total")).toBe(1);

    const env = { ...process.env, DATABASE_URL: kit.db.url("superuser") };
    await promisify(exec)(consumer.gaps[0]?.repair ?? "", { env });
    const all = await kit.events();
    await eventually(() => consumer.applied.length >= all.length - 10, "everything is applied");
    const applied = [...before, ...consumer.applied.map(({ eventId }) => eventId)];
    expect(applied.toSorted()).toEqual(all.toSorted());
    expect(consumer.gaps).toHaveLength(1);
  },
);

test("nothing is told again by the next start, nor of what was dropped after it was read", async () => {
  await using kit = await createGapKit();
  await using _relay = kit.relay();
  await publish(kit, 10);
  await read(kit, 10);
  await publish(kit, 5);
  await kit.streams.purge("USERS");
  {
    await using consumer = await listen(kit);
    await eventually(() => consumer.gaps.length === 1, "the gap is told");
  }
  await publish(kit, 5);
  await read(kit, 5);
  await kit.streams.purge("USERS");
  await publish(kit, 4);
  await read(kit, 4);
});

test("a consumer that is new, or whose stream was made again, misses nothing", async () => {
  await using kit = await createGapKit();
  await using _relay = kit.relay();
  await publish(kit, 10);
  await kit.streams.purge("USERS", { keep: 3 });
  await read(kit, 3);
  await kit.streams.delete("USERS");
  await eventually(
    async () => (await kit.streams.info("USERS").catch(() => undefined))?.state.last_seq === 10,
    "filled",
  );
  await read(kit, 7);
  await publish(kit, 2);
  await read(kit, 2);
});

test("what waits after a failure is not read, messages deleted singly are not dropped", async () => {
  await using kit = await createGapKit();
  await using _relay = kit.relay();
  await publish(kit, 7);
  {
    const apply: ConsumerOptions["apply"] = async (_tx, events) => {
      if (events.some(({ key }) => key === "key-3")) throw new Error("not now");
    };
    await using consumer = await listen(kit, { apply, maxTries: 1_000 });
    await eventually(() => consumer.applied.length === 6, "the others are applied");
  }
  await publish(kit, 7);
  await kit.streams.deleteMessage("USERS", 9, false);
  await kit.streams.deleteMessage("USERS", 11, false);
  await read(kit, 6);
  await publish(kit, 1);
  await kit.streams.purge("USERS");
  await using consumer = await listen(kit);
  await eventually(() => consumer.gaps.length === 1, "the gap is told");
  expect(consumer.gaps).toMatchObject([{ from: 15, to: 15 }]);
});

test("what waited after a failure when it was dropped is told", async () => {
  await using kit = await createGapKit();
  await using _relay = kit.relay();
  await publish(kit, 7);
  {
    const apply: ConsumerOptions["apply"] = async (_tx, events) => {
      if (events.some(({ key }) => key === "key-3")) throw new Error("not now");
    };
    await using consumer = await listen(kit, { apply, maxTries: 1_000 });
    await eventually(() => consumer.applied.length === 6, "the others are applied");
  }
  await kit.streams.purge("USERS");
  await using consumer = await listen(kit);
  await eventually(() => consumer.gaps.length === 1, "the gap is told");
  expect(consumer.gaps).toMatchObject([{ from: 4, to: 7 }]);
});

test("what is dropped while the consumer falls behind is told as soon as it reads on", async () => {
  await using kit = await createGapKit();
  await using _relay = kit.relay();
  const gate = Promise.withResolvers<void>();
  await using consumer = await listen(kit, { maxBatch: 10, apply: () => gate.promise });
  await publish(kit, 400);
  await kit.streams.purge("USERS", { keep: 50 });
  gate.resolve();
  await eventually(() => consumer.gaps.length === 1, "the gap is told");
  await eventually(() => consumer.applied.at(-1)?.streamSequence === 400n, "the rest is applied");
  const firstAfter = consumer.applied.findIndex(({ streamSequence }) => streamSequence === 351n);
  const lastBefore = consumer.applied[firstAfter - 1]?.streamSequence;
  expect(consumer.gaps).toMatchObject([{ from: Number(lastBefore) + 1, to: 350 }]);
});

test("a consumer with a filter does not miss what it does not want", async () => {
  await using kit = await createGapKit();
  await using _relay = kit.relay();
  const filterSubject = "decentrastore.user.registered.key-3";
  {
    await using consumer = await listen(kit, { filterSubject });
    await publish(kit, 7);
    await eventually(() => consumer.applied.length === 1, "its own is applied");
    await eventually(async () => (await consumer.readUpTo()) === 7, "the others are passed over");
  }
  await kit.streams.purge("USERS");
  {
    await using consumer = await listen(kit, { filterSubject });
    await publish(kit, 7);
    await eventually(() => consumer.applied.length === 1, "the next is applied");
    expect(consumer.gaps).toEqual([]);
  }
  await publish(kit, 7);
  await kit.streams.purge("USERS");
  await using consumer = await listen(kit, { filterSubject });
  await eventually(() => consumer.gaps.length === 1, "the gap is told");
  expect(consumer.gaps[0]).toMatchObject({ to: 21, filterSubject });
});
