import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  UserDeactivatedSchema,
  UserDeletedSchema,
  UserRegisteredSchema,
} from "#gen/decentrastore/events/v1/events_pb.ts";
import { envelopeHeaders } from "#platform/events/envelope.ts";
import { connectNats, type Nats } from "#platform/nats/connect.ts";
import { ensureStream } from "#platform/nats/streams.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { newEvent } from "#platform/outbox/outbox.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import { createTestLogger } from "#platform/testing/test-database.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { systemClock } from "#platform/time/clock.ts";
import { startRevocationFeed } from "./revocation-feed.worker.ts";
import { createRevocations } from "./revocations.ts";

let nats: TestNats;
let publisher: Nats;
const log = createTestLogger();

beforeAll(async () => {
  nats = await startTestNats();
  publisher = await connectNats({ url: nats.url("auth"), name: "publisher", log });
  await ensureStream(publisher, "USERS", {}, log);
});

afterAll(async () => {
  await publisher[Symbol.asyncDispose]();
  await nats[Symbol.asyncDispose]();
});

type Kind = "registered" | "deactivated" | "deleted";

async function publish(kind: Kind, userId: string, ageMs = 0, by = publisher): Promise<void> {
  const time = systemClock.now().subtract({ milliseconds: ageMs });
  const at = { subject: `decentrastore.user.${kind}.${userId}`, key: userId, keyVersion: 1n, clock: systemClock };
  const validAfter = toTimestamp(time);
  const event =
    kind === "registered"
      ? newEvent(UserRegisteredSchema, at, { userId, createdAt: validAfter })
      : kind === "deleted"
        ? newEvent(UserDeletedSchema, at, { userId, validAfter })
        : newEvent(UserDeactivatedSchema, at, { userId, validAfter });
  const headers = envelopeHeaders({ ...event, source: "/decentrastore/auth", sequence: 1n, time });
  await by.connection.jetstream().publish(event.subject, event.payload, { headers });
}

const users = (count: number) => Array.from({ length: count }, () => randomUUID());
const iat = () => Math.floor(Date.now() / 1_000) - 1;

/** A verifier of another service, which may only read. */
async function verifier() {
  const connection = await connectNats({ url: nats.url("user-quota"), name: "verifier", log });
  const revocations = createRevocations(systemClock);
  const feed = await startRevocationFeed({
    nats: connection,
    revocations,
    clock: systemClock,
    log,
    metrics: createMetrics("test"),
    signal: new AbortController().signal,
  });
  return {
    refuses: (sub: string) => revocations.isRevoked({ sub, sid: "", iat: iat() }),
    size: () => revocations.size(),
    isConnected: () => connection.isConnected(),
    [Symbol.asyncDispose]: async () => {
      await feed[Symbol.asyncDispose]();
      await connection[Symbol.asyncDispose]();
    },
  };
}

/** Until the verifier has seen the broker go, and it is back. */
async function restartBroker(service: { isConnected(): boolean }): Promise<void> {
  await nats.kill();
  await until(() => !service.isConnected());
  await nats.start();
}

async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error("it did not happen within 20 s");
    await systemClock.sleep(5);
  }
}

test("a verifier that starts knows the revocations of the last minutes, and then hears each at once", async () => {
  const [old, recent, gone, live] = users(4);
  await publish("deactivated", old ?? "", 3_600_000);
  await Promise.all(users(200).map((user) => publish("registered", user, 1_800_000)));
  await publish("deactivated", recent ?? "");
  await Promise.all(users(200).map((user) => publish("registered", user)));
  await publish("deleted", gone ?? "");
  await using service = await verifier();
  expect([old, recent, gone, live].map((user) => service.refuses(user ?? ""))).toEqual([false, true, true, false]);
  await publish("deactivated", live ?? "");
  await until(() => service.refuses(live ?? ""));
});

test("a malformed event is passed over", async () => {
  await using service = await verifier();
  const [broken, good] = users(2);
  publisher.connection.publish(`decentrastore.user.deleted.${broken}`, Buffer.from("not a protobuf"));
  await publish("deleted", good ?? "");
  await until(() => service.refuses(good ?? ""));
  expect(service.refuses(broken ?? "")).toBe(false);
});

// The last ones, because the publisher of the others loses the broker too.
test("what is revoked while a verifier has lost the broker is known again after it came back", {
  timeout: 120_000,
}, async () => {
  await using service = await verifier();
  await restartBroker(service);
  const [missed] = users(1);
  // A new connection is quicker than those that wait before they try again.
  await using quick = await connectNats({ url: nats.url("auth"), name: "quick publisher", log });
  await publish("deactivated", missed ?? "", 0, quick);
  await until(() => service.refuses(missed ?? ""));
});

test("what was revoked meanwhile is also found in a stream that was lost and has grown beyond the old one", {
  timeout: 120_000,
}, async () => {
  await using service = await verifier();
  await restartBroker(service);
  const [missed] = users(1);
  await using quick = await connectNats({ url: nats.url("auth"), name: "quick publisher", log });
  await using operator = await connectNats({ url: nats.url("operator"), name: "operator", log });
  const { streams } = await operator.connection.jetstreamManager();
  const { last_seq } = (await streams.info("USERS")).state;
  await streams.delete("USERS");
  await ensureStream(quick, "USERS", {}, log);
  await publish("deactivated", missed ?? "", 0, quick);
  await Promise.all(users(last_seq).map((user) => publish("registered", user, 0, quick)));
  await until(() => service.refuses(missed ?? ""));
});
