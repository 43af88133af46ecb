import { expect, test } from "vitest";
import { createEventKit, eventually, querySuperuser, streamContent, userEvent } from "../testing/event-kit.ts";
import { createOutbox, transact } from "./outbox.ts";

test("events arrive with their envelope, in order within each key", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  const keys = Array.from({ length: 400 }, (_, index) => `key-${index % 13}`);
  const events = await kit.append(keys);
  await eventually(async () => (await kit.unpublished()) === 0, "everything published");
  const stored = await streamContent(kit.operator, "USERS");
  expect(stored).toHaveLength(400);
  for (const key of new Set(keys)) {
    const versions = stored.filter(({ headers }) => headers.get("ce-subject") === key);
    expect(versions.map(({ headers }) => Number(headers.get("ce-keyversion")))).toEqual(versions.map((_, i) => i + 1));
  }
  const first = stored.find(({ headers }) => headers.get("ce-id") === events[0]?.eventId);
  expect(first?.subject).toBe("decentrastore.user.registered.key-0");
  expect(Object.fromEntries([...(first?.headers ?? [])].map(([name, values]) => [name, values[0]]))).toMatchObject({
    "Nats-Msg-Id": events[0]?.eventId,
    "ce-specversion": "1.0",
    "ce-type": "decentrastore.events.v1.UserRegistered",
    "ce-source": "/decentrastore/auth",
    "ce-sequence": "1",
    "content-type": "application/protobuf",
  });
});

test("a stop waits for what is in flight and marks it", async () => {
  await using kit = await createEventKit();
  const relay = kit.relay();
  await kit.append(Array.from({ length: 3_000 }, (_, index) => `key-${index}`));
  await eventually(async () => (await relay.metric("outbox_published_total")) > 0, "publishing began");
  await relay[Symbol.asyncDispose]();
  const stored = await streamContent(kit.operator, "USERS");
  expect(await kit.unpublished()).toBe(3_000 - stored.length);
});

test("events that another process committed are found without a wake", async () => {
  await using kit = await createEventKit();
  await using relay = kit.relay();
  await kit.append(["a"]);
  await eventually(async () => (await relay.metric("outbox_published_total")) === 1, "the first is published");
  await querySuperuser(
    kit.db,
    `insert into auth.outbox (event_id, subject, key, key_version, type, payload)
     values (gen_random_uuid(), 'decentrastore.user.registered.b', 'b', 1, 'T', '')`,
  );
  await eventually(async () => (await relay.metric("outbox_published_total")) === 2, "the second is published");
});

test("what this process has committed goes out without being read", async () => {
  await using kit = await createEventKit();
  await using relay = kit.relay();
  await kit.append(["a"]);
  await eventually(async () => (await kit.unpublished()) === 0, "the first is published");
  // Marking needs these columns, reading all of them.
  await querySuperuser(
    kit.db,
    "revoke select on auth.outbox from auth_app; grant select (id, created_at) on auth.outbox to auth_app",
  );
  await kit.append(Array.from({ length: 300 }, (_, index) => (index % 3 === 0 ? "a" : `key-${index % 50}`)));
  await eventually(async () => (await kit.unpublished()) === 0, "the others are published");
  expect(await relay.metric("outbox_published_total")).toBe(301);
  expectOrder(await streamContent(kit.operator, "USERS"));
});

test("an event waits for those of its key that another process has committed before", async () => {
  await using kit = await createEventKit();
  await using relay = kit.relay({ pollMs: 60_000 });
  await kit.append(["first"]);
  await eventually(async () => (await relay.metric("outbox_published_total")) === 1, "the relay runs");
  for (const key of ["x", "y", "z"]) {
    const elsewhere = createOutbox("auth");
    const at = { pool: kit.pool, outbox: elsewhere };
    await transact(at, (tx) => elsewhere.append(tx, [userEvent(key, 1n), userEvent(key, 2n)]));
    const ours = { pool: kit.pool, outbox: kit.outbox };
    await transact(ours, (tx) => kit.outbox.append(tx, [userEvent(key, 3n), userEvent(key, 4n)]));
  }
  await eventually(async () => (await kit.unpublished()) === 0, "everything published");
  expectOrder(await streamContent(kit.operator, "USERS"));
});

test("a full stream keeps events in the outbox and goes on by itself when there is room again", async () => {
  await using kit = await createEventKit();
  await using relay = kit.relay({ streamSettings: { maxBytes: 20_000 } });
  await kit.append(Array.from({ length: 200 }, (_, index) => `key-${index % 20}`));
  await eventually(async () => (await relay.metric("jetstream_stream_full")) === 1, "the stream is full");
  expect(await kit.unpublished()).toBeGreaterThan(0);
  const { streams } = await kit.operator.connection.jetstreamManager();
  await streams.update("USERS", { max_bytes: 10_000_000 });
  await eventually(async () => (await kit.unpublished()) === 0, "everything published");
  await eventually(async () => (await relay.metric("jetstream_stream_full")) === 0, "the alarm is over");
  const stored = await streamContent(kit.operator, "USERS");
  expect(stored).toHaveLength(200);
  expectOrder(stored);
});

test("a stream that does not answer holds up no other, however many of its events wait", async () => {
  await using kit = await createEventKit();
  const { streams } = await kit.operator.connection.jetstreamManager();
  await streams.add({ name: "QUOTAS", subjects: ["decentrastore.quota.>"], no_ack: true });
  await using relay = kit.relay({ nats: kit.operator, streams: ["USERS", "QUOTAS"] });
  // More than the relay holds.
  await querySuperuser(
    kit.db,
    `insert into auth.outbox (event_id, subject, key, key_version, type, payload)
     select gen_random_uuid(), 'decentrastore.quota.threshold.' || n, n::text, 1, 'T', '' from generate_series(1, 5000) as n`,
  );
  await kit.append(Array.from({ length: 50 }, (_, index) => `key-${index}`));
  await eventually(async () => (await relay.metric("outbox_published_total")) === 50, "the others are published");
  expect(await kit.unpublished()).toBe(5_000);
  await streams.update("QUOTAS", { no_ack: false });
  await eventually(async () => (await kit.unpublished()) === 0, "it answers again");
  expectOrder(await streamContent(kit.operator, "USERS"));
});

test("a stream that cannot be made holds up no other, and gets its events when there is room for it", async () => {
  const MiB = 1_048_576;
  await using kit = await createEventKit({ jetstream: { max_file_store: 12 * MiB } });
  const { streams } = await kit.operator.connection.jetstreamManager();
  await streams.add({ name: "FILLER", subjects: ["filler"], max_bytes: 2 * MiB });
  await using relay = kit.relay({
    ...{ nats: kit.operator, streams: ["USERS", "QUOTAS"], streamSettings: { maxBytes: 10 * MiB } },
  });
  await eventually(async () => (await streams.info("USERS").catch(() => undefined)) !== undefined, "USERS is made");
  await querySuperuser(
    kit.db,
    `insert into auth.outbox (event_id, subject, key, key_version, type, payload)
     select gen_random_uuid(), 'decentrastore.quota.threshold.' || n, n::text, 1, 'T', '' from generate_series(1, 50) as n`,
  );
  await kit.append(Array.from({ length: 50 }, (_, index) => `key-${index}`));
  await eventually(async () => (await relay.metric("outbox_published_total")) === 50, "the others are published");
  expect(await kit.unpublished()).toBe(50);
  await streams.delete("FILLER");
  await eventually(async () => (await kit.unpublished()) === 0, "there is room");
  expect(await streamContent(kit.operator, "QUOTAS")).toHaveLength(50);
  expectOrder(await streamContent(kit.operator, "USERS"));
});

test("a key whose event cannot be published waits with its later events, while others go on", async () => {
  await using kit = await createEventKit({ max_payload: 100_000 });
  await using relay = kit.relay();
  const sizeOf = (bytes: number) =>
    querySuperuser(
      kit.db,
      `update auth.outbox set payload = repeat('x', ${bytes})::bytea where key = 'big' and key_version = 2`,
    );
  await kit.append(["big"]);
  await eventually(async () => (await kit.unpublished()) === 0, "the first of the key is published");
  await querySuperuser(
    kit.db,
    `insert into auth.outbox (event_id, subject, key, key_version, type, payload)
     select gen_random_uuid(), 'decentrastore.user.registered.big', 'big', version, 'T', repeat('x', case version when 2 then 200000 else 1 end)::bytea
     from generate_series(2, 5) as version`,
  );
  await kit.append(Array.from({ length: 50 }, (_, index) => `key-${index}`));
  await eventually(async () => (await kit.unpublished()) === 4, "the others are published");
  await eventually(async () => (await relay.metric("outbox_paused_keys")) === 1, "the key pauses");
  await sizeOf(10);
  await eventually(async () => (await kit.unpublished()) === 0, "the key went on");
  expectOrder(await streamContent(kit.operator, "USERS"));
});

test("a row that no message can be made of holds up its key and nothing else", async () => {
  await using kit = await createEventKit();
  await using relay = kit.relay();
  await querySuperuser(
    kit.db,
    `insert into auth.outbox (event_id, subject, key, key_version, type, payload)
     select gen_random_uuid(), 'decentrastore.user.registered.' || word, key, 1, 'T', ''
     from (values ('a', E'two\nlines'), ('two words', 'c'), ('any.>', 'd')) as bad (word, key)`,
  );
  await kit.append(["a", "b", "a", "b"]);
  await eventually(async () => (await kit.unpublished()) === 3, "the others are published");
  await eventually(async () => (await relay.metric("outbox_paused_keys")) === 3, "the keys pause");
  expect(kit.nats.isConnected()).toBe(true);
  expectOrder(await streamContent(kit.operator, "USERS"));
});

test("database connections that die under the relay cost nothing", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  for (let round = 0; round < 5; round += 1) {
    await kit.append(Array.from({ length: 300 }, (_, index) => `key-${index % 30}`));
    await querySuperuser(
      kit.db,
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename = 'auth_app'",
    );
  }
  await eventually(async () => (await kit.unpublished()) === 0, "everything published");
  const stored = await streamContent(kit.operator, "USERS");
  expect(stored).toHaveLength(1_500);
  expectOrder(stored);
});

function expectOrder(stored: Awaited<ReturnType<typeof streamContent>>): void {
  const last = new Map<string, number>();
  for (const { headers } of stored) {
    const key = headers.get("ce-subject");
    const version = Number(headers.get("ce-keyversion"));
    expect(version).toBe((last.get(key) ?? 0) + 1);
    last.set(key, version);
  }
}
