import { nanos } from "nats";
import { expect, test } from "vitest";
import { createEventKit, type EventKit, eventually } from "../testing/event-kit.ts";
import { consume } from "../testing/test-consumer.ts";
import { createTestLogger } from "../testing/test-database.ts";
import { connectNats, type Nats } from "./connect.ts";
import { addSubscription, listServicePlaces, listSubscriptions, removeSubscription } from "./subscriptions.ts";

async function listen(kit: EventKit, subject: string): Promise<Nats & { keys: string[] }> {
  const url = kit.broker.url("subscriber");
  const nats = await connectNats({ url, name: "subscriber", log: createTestLogger(), inboxPrefix: "_INBOX" });
  const keys: string[] = [];
  nats.connection.subscribe(subject, {
    callback: (_error, { headers }) => keys.push(`${headers?.get("ce-subject")} ${headers?.get("ce-keyversion")}`),
  });
  return Object.assign(nats, { keys });
}

test("a subscription goes on where it was when its subscriber comes back", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await kit.append(["a", "b"]);
  await eventually(async () => (await kit.unpublished()) === 0, "published");
  const { deliverSubject } = await addSubscription(kit.operator, { name: "mine", stream: "USERS" });
  const first = await listen(kit, deliverSubject);
  await eventually(() => first.keys.length === 2, "what was there arrived");
  await kit.append(["a"]);
  await eventually(() => first.keys.length === 3, "what came arrived");
  await first[Symbol.asyncDispose]();
  await kit.append(["b", "c"]);
  await eventually(async () => (await listSubscriptions(kit.operator, "USERS"))[0]?.pending === 2, "two wait");
  await using second = await listen(kit, deliverSubject);
  await eventually(() => second.keys.length === 2, "what was missed arrived");
  expect([...first.keys, ...second.keys].toSorted()).toEqual(["a 1", "a 2", "b 1", "b 2", "c 1"]);
  await removeSubscription(kit.operator, "USERS", "mine");
  expect(await listSubscriptions(kit.operator, "USERS")).toEqual([]);
});

test("it may be limited to a subject and a time", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await kit.append(["a"]);
  await eventually(async () => (await kit.unpublished()) === 0, "published");
  const filterSubject = "decentrastore.user.registered.b";
  const since = Temporal.Now.instant();
  const added = await addSubscription(kit.operator, { name: "few", stream: "USERS", filterSubject, since });
  expect(added).toMatchObject({ filterSubject, pending: 0, dropped: undefined, isListening: false });
  await kit.append(["a", "b"]);
  await using subscriber = await listen(kit, added.deliverSubject);
  await eventually(() => subscriber.keys.length === 1, "the one arrived");
  expect(subscriber.keys).toEqual(["b 1"]);
});

test("what expired before it was sent is counted, for subscribers and for services", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await kit.append(["a", "b"]);
  await eventually(async () => (await kit.unpublished()) === 0, "published");
  const { deliverSubject } = await addSubscription(kit.operator, { name: "mine", stream: "USERS" });
  {
    await using subscriber = await listen(kit, deliverSubject);
    await using consumer = await consume(kit);
    await eventually(() => subscriber.keys.length === 2 && consumer.applied.length === 2, "both read");
  }
  const { streams } = await kit.operator.connection.jetstreamManager();
  await streams.update("USERS", { max_age: nanos(100), duplicate_window: nanos(100) });
  await eventually(async () => (await streams.info("USERS")).state.messages === 0, "what was read has expired");
  const listed = async () => [
    ...(await listSubscriptions(kit.operator, "USERS")),
    ...(await listServicePlaces(kit.operator, "USERS")),
  ];
  expect(await listed()).toMatchObject([
    { name: "mine", dropped: 0 },
    { name: "user-quota-users", stream: "USERS", dropped: 0 },
  ]);
  await kit.append(["a", "b", "c"]);
  await eventually(async () => (await streams.info("USERS")).state.first_seq === 6, "three expired unread");
  expect(await listed()).toMatchObject([
    { name: "mine", dropped: 3 },
    { name: "user-quota-users", dropped: 3 },
  ]);
});

test("a subscription that is new counts nothing as missed that was dropped before", async () => {
  await using kit = await createEventKit();
  await using _relay = kit.relay();
  await kit.append(["a", "b", "c", "d"]);
  await eventually(async () => (await kit.unpublished()) === 0, "published");
  const { streams } = await kit.operator.connection.jetstreamManager();
  const counts = async (name: string) => {
    const since = Temporal.Now.instant();
    const added = [
      await addSubscription(kit.operator, { name: `${name}-all`, stream: "USERS" }),
      await addSubscription(kit.operator, { name: `${name}-since`, stream: "USERS", since }),
    ];
    return [...added, ...(await listSubscriptions(kit.operator, "USERS"))].map(({ dropped }) => dropped);
  };
  await streams.purge("USERS", { keep: 1 });
  expect(await counts("one")).toEqual([0, 0, 0, 0]);
  await streams.purge("USERS");
  expect(await counts("none")).toEqual([0, 0, 0, 0, 0, 0]);
});
