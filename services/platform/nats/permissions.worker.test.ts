import { connect, type NatsConnection } from "nats";
import { expect, test } from "vitest";
import { createLogger } from "../log/logger.ts";
import { connectNats } from "../nats/connect.ts";
import { createEventKit, type EventKit, eventually } from "../testing/event-kit.ts";

/** With the prefix that the subscriber's rights are made for, unless told otherwise. */
async function connectAs(kit: EventKit, user: string, inboxPrefix?: string): Promise<NatsConnection & AsyncDisposable> {
  const url = new URL(kit.broker.url(user));
  const connection = await connect({
    servers: url.host,
    user: url.username,
    pass: url.password,
    ...(inboxPrefix === undefined ? {} : { inboxPrefix }),
  });
  return Object.assign(connection, { [Symbol.asyncDispose]: () => connection.close() });
}

/** The server's refusal of what `act` publishes, or undefined. */
async function refusal(connection: NatsConnection, act: () => void): Promise<string | undefined> {
  const refused: string[] = [];
  const status = connection.status();
  void (async () => {
    for await (const { permissionContext } of status) if (permissionContext) refused.push(permissionContext.subject);
  })();
  act();
  await connection.flush();
  await connection.flush();
  return refused[0];
}

test.each([
  ["auth", "decentrastore.user.registered.x", ["decentrastore.node.online.x", "decentrastore.quota.threshold.x"]],
  ["user-quota", "decentrastore.quota.threshold.x", ["decentrastore.user.deleted.x", "decentrastore.chunk.stored.x"]],
  [
    "node-registry",
    "decentrastore.chunk.stored.x",
    ["decentrastore.user.deleted.x", "decentrastore.quota.threshold.x"],
  ],
])("%s publishes its own events and nobody else's", async (user, own, foreign) => {
  await using kit = await createEventKit();
  await using connection = await connectAs(kit, user, `_INBOX_${user}`);
  expect(await refusal(connection, () => connection.publish(own))).toBeUndefined();
  for (const subject of foreign) expect(await refusal(connection, () => connection.publish(subject))).toBe(subject);
  const deadOfOthers = "decentrastore.dead.somebody.else";
  expect(await refusal(connection, () => connection.publish(deadOfOthers))).toBe(deadOfOthers);
});

test("the subscriber reads events, streams and messages, and can do nothing else", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await using subscriber = await connectAs(kit, "subscriber");
  const received: string[] = [];
  subscriber.subscribe("decentrastore.>", { callback: (_error, message) => received.push(message.subject) });
  await subscriber.flush();
  await kit.append(["x"]);
  await eventually(() => received.length === 1, "the event came");
  const manager = await subscriber.jetstreamManager();
  expect((await manager.streams.info("USERS")).state.messages).toBe(1);
  const bySubject = { last_by_subj: "decentrastore.user.registered.x" };
  expect((await manager.streams.getMessage("USERS", bySubject)).seq).toBe(1);
  const next = { seq: 1, next_by_subj: ">" };
  expect((await manager.streams.getMessage("USERS", next)).seq).toBe(1);
  for (const subject of [
    "decentrastore.user.registered.x",
    "$JS.API.CONSUMER.CREATE.USERS",
    "$JS.API.CONSUMER.CREATE.USERS.mine",
    "$JS.API.CONSUMER.DURABLE.CREATE.USERS.mine",
    "$JS.API.CONSUMER.DELETE.USERS.user-quota-users",
    "$JS.API.CONSUMER.MSG.NEXT.USERS.user-quota-users",
    "$JS.ACK.USERS.user-quota-users.1.1.1.1.0",
    "$JS.API.STREAM.DELETE.USERS",
    "$JS.API.STREAM.PURGE.USERS",
    "$JS.API.STREAM.CREATE.MINE",
    "_INBOX_auth.x",
  ]) {
    expect(await refusal(subscriber, () => subscriber.publish(subject)), subject).toBe(subject);
  }
});

test("the subscriber cannot have the server's answers written into a stream", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await using subscriber = await connectAs(kit, "subscriber");
  await kit.append(["x"]);
  await eventually(async () => (await kit.unpublished()) === 0, "published");
  const manager = await subscriber.jetstreamManager();
  const message = JSON.stringify({ last_by_subj: "decentrastore.user.>" });
  const reply = "decentrastore.user.deleted.x";
  subscriber.publish("$JS.API.STREAM.MSG.GET.USERS", message, { reply });
  subscriber.publish("$JS.API.STREAM.INFO.USERS", "", { reply });
  subscriber.publish("$JS.API.INFO", "", { reply });
  // Answered after the three, whose answers are stored by then.
  expect((await manager.streams.info("USERS")).state.messages).toBe(1);
  await subscriber.flush();
  expect((await manager.streams.info("USERS")).state.messages).toBe(1);
});

test("the subscriber cannot listen to what services are answered", async () => {
  await using kit = await createEventKit();
  await using subscriber = await connectAs(kit, "subscriber");
  for (const subject of ["_INBOX_auth.>", "_INBOX_operator.>", ">", "$JS.>"]) {
    const refused = await refusal(subscriber, () => subscriber.subscribe(subject, { callback: () => {} }));
    expect(refused, subject).toBe(subject);
  }
});

test("a service manages its own streams and its own consumers only", async () => {
  await using kit = await createEventKit();
  await using quota = await connectAs(kit, "user-quota", "_INBOX_user-quota");
  for (const subject of [
    "$JS.API.STREAM.CREATE.USERS",
    "$JS.API.STREAM.UPDATE.CHUNKS",
    "$JS.API.STREAM.DELETE.QUOTAS",
    "$JS.API.CONSUMER.DELETE.USERS.node-registry-users",
    "$JS.API.CONSUMER.MSG.NEXT.USERS.node-registry-users",
    "$JS.API.CONSUMER.CREATE.USERS",
  ]) {
    expect(await refusal(quota, () => quota.publish(subject)), subject).toBe(subject);
  }
  for (const subject of ["$JS.API.STREAM.CREATE.QUOTAS", "$JS.API.CONSUMER.DELETE.USERS.user-quota-users"]) {
    expect(await refusal(quota, () => quota.publish(subject)), subject).toBeUndefined();
  }
});

test("nobody gets in without a password, and waiting for the server ends when told", async () => {
  await using kit = await createEventKit();
  await expect(connect({ servers: `127.0.0.1:${kit.broker.port}` })).rejects.toThrow(/authorization/i);
  await expect(connect({ servers: `127.0.0.1:${kit.broker.port}`, user: "auth", pass: "no" })).rejects.toThrow(
    /authorization/i,
  );
  const lines: string[] = [];
  const log = createLogger("test", "warn", { write: (line) => void lines.push(line) });
  const stop = new AbortController();
  const url = `nats://auth:wrong@127.0.0.1:${kit.broker.port}`;
  const waiting = connectNats({ url, name: "x", log, signal: stop.signal });
  waiting.catch(() => {});
  await eventually(() => lines.some((line) => /authorization/i.test(line)), "it says why");
  expect(lines.join()).not.toContain("wrong");
  stop.abort(new Error("enough"));
  await expect(waiting).rejects.toThrow("enough");
});
