import { type ChildProcess, execFile, spawn } from "node:child_process";
import { promisify } from "node:util";
import { headers as newHeaders } from "nats";
import { expect, test } from "vitest";
import { UserRegisteredSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { publishDeadLetter } from "#platform/inbox/dead-letter.ts";
import { newEvent, transact } from "#platform/outbox/outbox.ts";
import { createEventKit, type EventKit, eventually, streamContent } from "#platform/testing/event-kit.ts";
import { createTestLogger } from "#platform/testing/test-database.ts";
import { systemClock } from "#platform/time/clock.ts";

const run = promisify(execFile);

async function register(kit: EventKit, userId: string): Promise<void> {
  const at = { subject: `decentrastore.user.registered.${userId}`, key: userId, keyVersion: 1n, clock: systemClock };
  await transact(kit, (tx) => kit.outbox.append(tx, [newEvent(UserRegisteredSchema, at, { userId })]));
}

/** The lines that a command prints while it runs. */
function follow(script: string, args: string[], env: Record<string, string>) {
  const child: ChildProcess = spawn(process.execPath, [script, ...args], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout?.on("data", (chunk) => {
    text += String(chunk);
  });
  return { lines: () => text.split("\n").filter((line) => line !== ""), [Symbol.dispose]: () => child.kill("SIGKILL") };
}

test("events are printed decoded, those of before and those of now, each once", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await register(kit, "11111111-1111-7111-8111-111111111111");
  await eventually(async () => (await kit.unpublished()) === 0, "published");
  const env = { NATS_URL: kit.broker.url("subscriber") };
  using printed = follow("services/dev/events.ts", ["--replay", "--json"], env);
  await eventually(() => printed.lines().length === 1, "the old one is printed");
  await register(kit, "22222222-2222-7222-8222-222222222222");
  await eventually(() => printed.lines().length === 2, "the new one is printed");
  const events = printed.lines().map((line) => JSON.parse(line));
  expect(events.map(({ subject, event }) => [subject, event.userId])).toEqual([
    ["user.registered.11111111-1111-7111-8111-111111111111", "11111111-1111-7111-8111-111111111111"],
    ["user.registered.22222222-2222-7222-8222-222222222222", "22222222-2222-7222-8222-222222222222"],
  ]);
});

test("a replay without following ends by itself and prints one readable line per event", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await register(kit, "11111111-1111-7111-8111-111111111111");
  await eventually(async () => (await kit.unpublished()) === 0, "published");
  const env = { ...process.env, NATS_URL: kit.broker.url("subscriber") };
  const { stdout } = await run(process.execPath, ["services/dev/events.ts", "--replay", "--no-follow"], { env });
  expect(stdout).toMatch(/^\d\d:\d\d:\d\d\.\d{3} +user\.registered +11111111-1111-7111-8111-111111111111/);
});

test("events:replay has the outbox published again", async () => {
  await using kit = await createEventKit();
  await using relay = kit.relay();
  await kit.append(["a", "b"]);
  await eventually(async () => (await relay.metric("outbox_published_total")) === 2, "published");
  const env = { ...process.env, DATABASE_URL: kit.db.url("superuser") };
  const { stdout } = await run(process.execPath, ["services/dev/events-replay.ts", "--stream", "USERS"], { env });
  expect(stdout).toContain("auth: 2 events");
  await eventually(async () => (await relay.metric("outbox_published_total")) === 4, "published again");
  await expect(run(process.execPath, ["services/dev/events-replay.ts", "--stream", "NONE"], { env })).rejects.toThrow(
    /must be one of USERS, QUOTAS, NODES, CHUNKS/,
  );
});

test("dead letters are listed with their cause and requeued", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await kit.append(["a"]);
  await eventually(async () => (await kit.unpublished()) === 0, "published");
  const [message] = await streamContent(kit.operator, "USERS");
  if (message === undefined) throw new Error("the event is not there");
  const letter = { subject: message.subject, headers: message.headers ?? newHeaders(), data: message.payload };
  const quota = await kit.connect("user-quota");
  const cause = { stream: "USERS", schema: "user_quota", durable: "user-quota-users", tries: 8 } as const;
  const given = { ...cause, error: new Error("no account"), time: systemClock.now() };
  await publishDeadLetter(quota, { ...letter, streamSequence: 1 }, given, createTestLogger());

  const command = (...args: string[]) => {
    const env = { ...process.env, NATS_URL: kit.broker.url("operator") };
    return run(process.execPath, ["services/dev/dead-letters.ts", ...args], { env });
  };
  expect((await command()).stdout).toMatch(/^1 .*user-quota-users.*\n.*given up after 8 tries: Error: no account/);
  expect((await command("requeue", "1")).stdout).toContain("goes to user-quota-users again");
  expect((await command()).stdout).toBe("no dead letters\n");
  expect(await streamContent(kit.operator, "USERS")).toHaveLength(2);
});

test.each([
  [["--stream", "DEAD_LETTERS"], "--stream must be one of USERS, QUOTAS, NODES, CHUNKS"],
  [["--stream", "USERS", "--subject", "user..registered"], "--subject must be words between dots"],
  [["--stream", "USERS", "--subject", ">.registered"], "--subject must be words between dots"],
  [["--stream", "USERS", "--since", "yesterday"], "--since must be a time such as"],
])("events:subscriptions add %j is refused by the option's name", async (options, message) => {
  await using kit = await createEventKit();
  const env = { ...process.env, NATS_URL: kit.broker.url("operator") };
  const adding = run(process.execPath, ["services/dev/event-subscriptions.ts", "add", "one", ...options], { env });
  await expect(adding).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining(message) });
});
