import { headers as newHeaders } from "nats";
import { expect, test } from "vitest";
import { createEventKit, eventually, querySuperuser } from "../testing/event-kit.ts";
import { consume, expectExactlyOnceInOrder, manyKeys } from "../testing/test-consumer.ts";
import type { ConsumerOptions, ReceivedEvent } from "./consumer.worker.ts";
import { listDeadLetters, requeueDeadLetter } from "./dead-letters.ts";

test("a consumer that started before the stream exists applies everything once and in order", async () => {
  await using kit = await createEventKit();
  await using consumer = await consume(kit);
  await using _relay = kit.relay();
  await kit.append(manyKeys(700, 30));
  await eventually(() => consumer.applied.length >= 700, "everything applied");
  expectExactlyOnceInOrder(consumer.applied, 700);
  const [first] = consumer.applied;
  expect(first).toMatchObject({ type: "decentrastore.events.v1.UserRegistered", key: "key-0", keyVersion: 1n });
  expect(new TextDecoder().decode(first?.payload)).toBe("key-0 1");
});

test("duplicates beyond the broker's window are applied once, also within one batch", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  const [event] = await kit.append(["key"]);
  await eventually(async () => (await kit.unpublished()) === 0, "published");
  const { streams } = await kit.operator.connection.jetstreamManager();
  const { header, data, subject } = await streams.getMessage("USERS", { seq: 1 });
  for (let copy = 0; copy < 20; copy += 1) {
    const headers = newHeaders();
    for (const [name, values] of header) headers.set(name, values[0] ?? "");
    headers.set("Nats-Msg-Id", `copy ${copy}`);
    await kit.operator.connection.jetstream().publish(subject, data, { headers });
  }
  await using consumer = await consume(kit);
  await eventually(async () => (await consumer.metric("inbox_duplicates_total")) === 20, "the copies were seen");
  expect(consumer.applied.map(({ eventId }) => eventId)).toEqual([event?.eventId]);
});

test("an event whose id is written in capitals is applied beside duplicates, too", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await kit.append(["known"]);
  await eventually(async () => (await kit.unpublished()) === 0, "published");
  const { streams } = await kit.operator.connection.jetstreamManager();
  const { header, data, subject } = await streams.getMessage("USERS", { seq: 1 });
  const capitals = "0199A000-0000-7000-8000-00000000000A";
  for (const id of [header.get("ce-id"), capitals]) {
    const headers = newHeaders();
    for (const [name, values] of header) headers.set(name, values[0] ?? "");
    headers.set("Nats-Msg-Id", `copy ${id}`);
    headers.set("ce-id", id);
    await kit.operator.connection.jetstream().publish(subject, data, { headers });
  }
  await using consumer = await consume(kit);
  await eventually(async () => (await consumer.metric("inbox_duplicates_total")) >= 1, "the copy was seen");
  await eventually(() => consumer.applied.some(({ eventId }) => eventId === capitals.toLowerCase()), "it is applied");
});

test("a poisoned event keeps its key waiting, then goes to the dead letters; others go on at once", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  let isMended = false;
  await using consumer = await consume(kit, {
    maxTries: 3,
    apply: async (_tx, events) => {
      if (!isMended && events.some(({ key, keyVersion }) => key === "key-3" && keyVersion === 2n)) {
        throw new Error("cannot be applied, password=hunter2");
      }
    },
  });
  await kit.append(manyKeys(100, 10));
  await eventually(() => consumer.applied.length >= 99, "all but one applied");
  const others = consumer.applied.filter(({ key }) => key !== "key-3");
  expectExactlyOnceInOrder(others, 90);
  const versions = consumer.applied.filter(({ key }) => key === "key-3").map(({ keyVersion }) => Number(keyVersion));
  expect(versions).toEqual([1, 3, 4, 5, 6, 7, 8, 9, 10]);
  const [letter, ...rest] = await listDeadLetters(kit.operator, { consumer: "user-quota-users" });
  expect(rest).toEqual([]);
  expect(letter).toMatchObject({ subject: "decentrastore.user.registered.key-3", tries: 3, stream: "USERS" });
  expect(letter?.cause).toBe("Error: cannot be applied, password=[redacted]");

  isMended = true;
  await requeueDeadLetter(kit.operator, letter?.sequence ?? 0);
  await eventually(() => consumer.applied.length === 100, "the requeued event was applied");
  expect(await listDeadLetters(kit.operator)).toEqual([]);
});

test("an event that was given up is applied by no restart, but once by each return that succeeds", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  const poison = { key: "key-3", keyVersion: 1n };
  const isPoison = (event: ReceivedEvent) => event.key === poison.key && event.keyVersion === poison.keyVersion;
  const failing: ConsumerOptions["apply"] = async (_tx, events) => {
    if (events.some(isPoison)) throw new Error("cannot be applied");
  };
  const letters = () => listDeadLetters(kit.operator, { consumer: "user-quota-users" });
  const requeueOnly = async () => {
    const [letter, ...others] = await letters();
    expect(others).toEqual([]);
    await requeueDeadLetter(kit.operator, letter?.sequence ?? 0);
  };
  await kit.append(manyKeys(10, 10));
  {
    await using consumer = await consume(kit, { maxTries: 2, apply: failing });
    await eventually(async () => (await consumer.metric("inbox_dead_letters_total")) === 1, "it was given up");
    expect(consumer.applied).toHaveLength(9);
    await requeueOnly();
    await eventually(async () => (await consumer.metric("inbox_dead_letters_total")) === 2, "and once more");
  }
  {
    // The durable starts before its floor, so this one gets both the event and its first return again.
    await using consumer = await consume(kit);
    await kit.append(["after"]);
    await eventually(() => consumer.applied.length === 1, "the later event is applied");
    await eventually(async () => (await consumer.metric("inbox_duplicates_total")) === 11, "the others were seen");
    await requeueOnly();
    await eventually(() => consumer.applied.length === 2, "the second return is applied");
    expect(consumer.applied[1]).toMatchObject(poison);
  }
  await using consumer = await consume(kit);
  await eventually(async () => (await consumer.metric("inbox_duplicates_total")) === 13, "everything was seen again");
  expect(consumer.applied).toEqual([]);
  expect(await letters()).toEqual([]);
});

test("messages that are no events go to the dead letters at once and block nothing", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await using consumer = await consume(kit);
  await kit.append(["a"]);
  await eventually(() => consumer.applied.length === 1, "the first is applied");
  const jetstream = kit.nats.connection.jetstream();
  await Promise.all(
    Array.from({ length: 200 }, () => jetstream.publish("decentrastore.user.registered.x", "nonsense")),
  );
  await kit.append(["b"]);
  await eventually(() => consumer.applied.length === 2, "the second is applied");
  await eventually(async () => (await consumer.metric("inbox_dead_letters_total")) === 200, "they were put aside");
  const [letter] = await listDeadLetters(kit.operator);
  expect(letter?.cause).toMatch(/header ce-id is missing/);
});

test("an event that fails a few times is applied in the end, in order", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  let failures = 4;
  await using consumer = await consume(kit, {
    apply: async (_tx, events) => {
      if (failures > 0 && events.some(({ key, keyVersion }) => key === "key-0" && keyVersion === 2n)) {
        failures -= 1;
        throw new Error("not now");
      }
    },
  });
  await kit.append(manyKeys(60, 3));
  await eventually(() => consumer.applied.length >= 60, "everything applied");
  expectExactlyOnceInOrder(consumer.applied, 60);
  expect(await listDeadLetters(kit.operator)).toEqual([]);
});

test("a database that is away is waited for and counts as no try", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await using consumer = await consume(kit, { maxTries: 1 });
  await kit.append(manyKeys(50, 5));
  await eventually(() => consumer.applied.length >= 50, "the first are applied");
  const name = kit.db.name;
  await querySuperuser(kit.db, `alter role user_quota_app in database ${name} set default_transaction_read_only = on`);
  const end =
    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename = 'user_quota_app'";
  await querySuperuser(kit.db, end);
  await kit.append(manyKeys(50, 5));
  await eventually(async () => (await kit.unpublished()) === 0, "they lie in the stream");
  await querySuperuser(kit.db, `alter role user_quota_app in database ${name} reset default_transaction_read_only`);
  await querySuperuser(kit.db, end);
  await eventually(() => consumer.applied.length >= 100, "the rest is applied");
  expectExactlyOnceInOrder(consumer.applied, 100);
  expect(await listDeadLetters(kit.operator)).toEqual([]);
});

test("a durable that is deleted, and a stream that is wiped, are set up again without a second effect", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await using consumer = await consume(kit);
  const { consumers, streams } = await kit.operator.connection.jetstreamManager();
  await kit.append(manyKeys(100, 10));
  await eventually(() => consumer.applied.length >= 100, "the first are applied");
  await consumers.delete("USERS", "user-quota-users");
  await kit.append(manyKeys(100, 10));
  await eventually(() => consumer.applied.length >= 200, "the second are applied");
  await streams.delete("USERS");
  await kit.append(manyKeys(100, 10));
  await eventually(() => consumer.applied.length >= 300, "the third are applied");
  expectExactlyOnceInOrder(consumer.applied, 300);
});

test("kill -9 of the broker in the middle neither loses, repeats nor reorders", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await using consumer = await consume(kit);
  for (let round = 0; round < 12; round += 1) {
    await kit.append(manyKeys(100, 10));
    if (round % 4 === 2) {
      await kit.broker.kill();
      await kit.broker.start();
    }
  }
  await eventually(() => consumer.applied.length >= 1_200, "everything applied");
  expectExactlyOnceInOrder(consumer.applied, 1_200);
});
