import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { expect, test } from "vitest";
import {
  createEventKit,
  type EventKit,
  eventually,
  querySuperuser,
  startWorkerProcess,
  streamContent,
} from "../testing/event-kit.ts";
import { replayEvents } from "./replay.ts";

const relayProcess = new URL("../testing/relay-process.ts", import.meta.url).pathname;

/** Each process needs seconds to start on a busy machine. */
const patience = { timeout: 120_000 };

const manyKeys = (count: number, keys: number) => Array.from({ length: count }, (_, index) => `key-${index % keys}`);

/** Every appended event is there, and each key's first occurrences are in order. */
async function expectComplete(kit: EventKit, total: number): Promise<void> {
  const stored = await streamContent(kit.operator, "USERS");
  const seen = new Set<string>();
  const last = new Map<string, number>();
  for (const { headers } of stored) {
    const id = headers.get("ce-id");
    if (seen.has(id)) continue;
    seen.add(id);
    const key = headers.get("ce-subject");
    const version = Number(headers.get("ce-keyversion"));
    expect(version, `version of ${key}`).toBe((last.get(key) ?? 0) + 1);
    last.set(key, version);
  }
  expect(seen.size).toBe(total);
}

test("kill -9 of nats-server in the middle of a stream of appends loses nothing", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  for (let round = 0; round < 30; round += 1) {
    await kit.append(manyKeys(100, 40));
    if (round % 10 === 5) {
      await kit.broker.kill();
      await kit.append(manyKeys(100, 40));
      await kit.broker.start();
    }
  }
  await eventually(async () => (await kit.unpublished()) === 0, "everything published");
  await expectComplete(kit, 3_300);
});

test("JetStream's folder wiped while the server runs: made again and filled from the outbox", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await kit.append(manyKeys(500, 40));
  await eventually(async () => (await kit.unpublished()) === 0, "everything published");
  for (const name of await readdir(kit.broker.folder)) {
    if (name === "jetstream") await rm(join(kit.broker.folder, name), { recursive: true });
  }
  await kit.append(manyKeys(100, 40));
  await kit.broker.kill();
  await kit.append(manyKeys(100, 40));
  await kit.broker.start();
  await eventually(async () => (await streamSize(kit)) >= 700, "everything published again");
  await eventually(async () => (await kit.unpublished()) === 0, "everything marked");
  await expectComplete(kit, 700);
});

test("a stream deleted under the connected relay is made again and gets everything back", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await kit.append(manyKeys(300, 20));
  await eventually(async () => (await kit.unpublished()) === 0, "everything published");
  const { streams } = await kit.operator.connection.jetstreamManager();
  await streams.delete("USERS");
  await kit.append(manyKeys(50, 20));
  await eventually(async () => (await streamSize(kit)) >= 350, "everything published again");
  await expectComplete(kit, 350);
});

test("a stream deleted and made again by somebody else under a quiet relay is noticed", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await kit.append(manyKeys(300, 20));
  await eventually(async () => (await kit.unpublished()) === 0, "everything published");
  const { streams } = await kit.operator.connection.jetstreamManager();
  const { config } = await streams.info("USERS");
  await streams.delete("USERS");
  await streams.add(config);
  await eventually(async () => (await streamSize(kit)) === 300, "everything published again");
  await expectComplete(kit, 300);
});

test("a stream that fell back behind what was acknowledged gets the lost part again", async () => {
  await using kit = await createEventKit();
  const relay = kit.relay();
  await kit.append(manyKeys(200, 20));
  await eventually(async () => (await kit.unpublished()) === 0, "everything published");
  await relay[Symbol.asyncDispose]();
  await querySuperuser(kit.db, "update auth.outbox_streams set last_sequence = 250");
  await querySuperuser(kit.db, "update auth.outbox set stream_sequence = stream_sequence + 50");
  await using again = kit.relay();
  await eventually(async () => (await again.metric("outbox_published_total")) === 50, "what lay behind is sent again");
});

test("a stream that falls back under load is found out by a number that it gives twice", async () => {
  await using kit = await createEventKit();
  const { streams } = await kit.operator.connection.jetstreamManager();
  await streams.add({ name: "USERS", subjects: ["decentrastore.user.>"], no_ack: true });
  // The test acknowledges in place of the stream, which stores everything and so shows no lower last sequence.
  const sent: string[] = [];
  let sequence = 0;
  kit.operator.connection.subscribe("decentrastore.user.>", {
    callback: (_error, message) => {
      sent.push(message.headers?.get("ce-id") ?? "");
      sequence += 1;
      message.respond(JSON.stringify({ stream: "USERS", seq: sequence }));
    },
  });
  await kit.operator.connection.flush();
  await using _relay = kit.relay();
  const before = await kit.append(manyKeys(100, 100));
  await eventually(async () => (await kit.unpublished()) === 0, "everything published");
  sequence = 90;
  const after = await kit.append(manyKeys(50, 50));
  await eventually(async () => (await kit.unpublished()) === 0, "everything published again");
  const twice = before.filter(({ eventId }) => sent.indexOf(eventId) !== sent.lastIndexOf(eventId));
  const lost = before.filter(({ eventId }) => sent.indexOf(eventId) >= 90);
  expect(lost).toHaveLength(10);
  expect(twice).toEqual(expect.arrayContaining(lost));
  expect(after.every(({ eventId }) => sent.includes(eventId))).toBe(true);
});

test(
  "kill -9 of the relay between publishing and marking publishes nothing twice and loses nothing",
  patience,
  async () => {
    await using kit = await createEventKit();
    const env = { DATABASE_URL: kit.db.url("auth_app"), NATS_URL: kit.broker.url("auth") };
    const first = await startWorkerProcess(relayProcess, env);
    await kit.append(["warm-up"]);
    await eventually(async () => (await kit.unpublished()) === 0, "the relay works");
    // The lock lets the relay read and keeps it from marking.
    const blocker = new pg.Client({ connectionString: kit.db.url("superuser") });
    await blocker.connect();
    await kit.append(manyKeys(500, 500));
    await blocker.query("begin");
    await blocker.query("lock table auth.outbox in share mode");
    await eventually(async () => (await streamSize(kit)) >= 300, "published, and not marked");
    await first.kill("SIGKILL");
    await blocker.query("rollback");
    await blocker.end();
    await using _second = await startWorkerProcess(relayProcess, env);
    await eventually(async () => (await kit.unpublished()) === 0, "everything marked");
    expect(await streamContent(kit.operator, "USERS")).toHaveLength(501);
  },
);

test(
  "two relays: one is stopped, the other takes over, and the first writes nothing when it goes on",
  patience,
  async () => {
    await using kit = await createEventKit();
    const env = { DATABASE_URL: kit.db.url("auth_app"), NATS_URL: kit.broker.url("auth"), LEASE_TTL_MS: "1000" };
    await using first = await startWorkerProcess(relayProcess, env);
    await kit.append(["warm-up"]);
    await eventually(async () => (await kit.unpublished()) === 0, "the first leads");
    await using second = await startWorkerProcess(relayProcess, env);
    for (let round = 0; round < 3; round += 1) {
      const [paused, other] = round % 2 === 0 ? [first, second] : [second, first];
      await kit.append(manyKeys(200, 30));
      await paused.kill("SIGSTOP");
      await kit.append(manyKeys(200, 30));
      await eventually(async () => (await kit.unpublished()) === 0, "the other took over");
      await kit.append(manyKeys(200, 30));
      await paused.kill("SIGCONT");
      await kit.append(manyKeys(200, 30));
      await eventually(async () => (await kit.unpublished()) === 0, "everything published");
      expect(other.process.exitCode).toBeNull();
    }
    await expectComplete(kit, 2_401);
  },
);

test("a server that stops answering is sent the same events again, and stores each once", patience, async () => {
  await using kit = await createEventKit();
  await using relay = kit.relay();
  await kit.append(manyKeys(100, 20));
  await eventually(async () => (await kit.unpublished()) === 0, "the first are published");
  process.kill(kit.broker.pid, "SIGSTOP");
  await kit.append(manyKeys(100, 20));
  await eventually(async () => (await relay.metric("outbox_paused_keys")) > 0, "nothing is answered");
  process.kill(kit.broker.pid, "SIGCONT");
  await eventually(async () => (await kit.unpublished()) === 0, "everything published");
  expect(await streamContent(kit.operator, "USERS")).toHaveLength(200);
  await expectComplete(kit, 200);
});

test("a replay publishes again what the outbox holds, of the wanted time only", async () => {
  await using kit = await createEventKit();
  await using relay = kit.relay();
  await kit.append(manyKeys(50, 10));
  await eventually(async () => (await kit.unpublished()) === 0, "everything published");
  const later = Temporal.Now.instant();
  await kit.append(manyKeys(20, 10));
  await eventually(async () => (await relay.metric("outbox_published_total")) === 70, "everything published");
  expect(await replayEvents({ pool: kit.pool, schema: "auth", since: later, stream: "USERS" })).toBe(20);
  await eventually(async () => (await relay.metric("outbox_published_total")) === 90, "published again");
  expect(await replayEvents({ pool: kit.pool, schema: "auth", stream: "QUOTAS" })).toBe(0);
});

async function streamSize(kit: EventKit): Promise<number> {
  try {
    const { streams } = await kit.operator.connection.jetstreamManager({ checkAPI: false, timeout: 1_000 });
    return (await streams.info("USERS")).state.messages;
  } catch {
    return 0; // away, or not made again yet
  }
}
