import type { Msg } from "nats";
import { expect, test } from "vitest";
import { connectNats } from "../nats/connect.ts";
import { createTestLogger } from "../testing/test-database.ts";
import { startTestNats } from "../testing/test-nats.ts";
import { type Envelope, envelopeFrom, envelopeHeaders, MalformedEnvelopeError } from "./envelope.ts";
import { envelopeOf, relayedEnvelope } from "./received-envelope.ts";
import { sealedHeaders } from "./sealed-headers.ts";

const envelope: Envelope = {
  eventId: "0199a000-0000-7000-8000-000000000001",
  type: "decentrastore.events.v1.ChunkStored",
  source: "/decentrastore/node-registry",
  key: "0199a000-0000-7000-8000-000000000002",
  keyVersion: 3n,
  sequence: 100_042n,
  time: Temporal.Instant.from("2026-01-31T03:04:05.678901Z"),
};
const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const expected = { ...envelope, time: "2026-01-31T03:04:05.678901Z" };

/** What a subscriber gets, in the order in which it was published. */
async function delivered(all: readonly (ReturnType<typeof envelopeHeaders> | undefined)[], payload = "payload") {
  await using broker = await startTestNats();
  await using nats = await connectNats({ url: broker.url("auth"), name: "auth", log: createTestLogger() });
  const messages: Msg[] = [];
  nats.connection.subscribe("decentrastore.user.>", { callback: (_error, message) => messages.push(message) });
  const bytes = new TextEncoder().encode(payload);
  for (const headers of all) nats.publish("decentrastore.user.registered.x", bytes, headers);
  await nats.connection.flush();
  expect(messages).toHaveLength(all.length);
  return messages;
}

test("headers as a relay writes them are read from the bytes that arrived, and tell the same as the client's", async () => {
  const traced = { ...envelope, traceparent };
  for (const payload of ["", "payload"]) {
    const [plain, expecting, withTrace] = await delivered(
      [sealedHeaders(envelope), sealedHeaders(envelope, "USERS"), sealedHeaders(traced, "USERS")],
      payload,
    );
    for (const message of [plain, expecting, withTrace]) expect(message && relayedEnvelope(message)).toBeDefined();
    expect(plain && envelopeOf(plain)).toEqual(expected);
    expect(expecting && envelopeOf(expecting)).toEqual(expected);
    expect(withTrace && envelopeOf(withTrace)).toEqual({ ...expected, traceparent });
    expect(envelopeFrom(plain?.headers)).toEqual(envelope);
  }
});

test("headers in another form tell the same, by the client's way", async () => {
  const requeue = { consumer: "user-quota-users", streamSequence: 17n };
  const upperCase = envelopeHeaders(envelope);
  upperCase.set("ce-id", envelope.eventId.toUpperCase());
  const [requeued, upper] = await delivered([envelopeHeaders({ ...envelope, requeue }), upperCase]);
  expect(requeued && relayedEnvelope(requeued)).toBeUndefined();
  expect(requeued && envelopeOf(requeued)).toEqual({ ...expected, requeue });
  expect(upper && envelopeOf(upper).eventId).toBe(envelope.eventId);
});

test.each([
  ["ce-time", "2026-02-30T03:04:05Z"],
  ["ce-time", "2026-13-01T03:04:05Z"],
  ["ce-time", "yesterday"],
  ["ce-id", "17"],
  ["ce-sequence", "1.5"],
])("a header %s of %j is named in the refusal", async (name, value) => {
  const headers = envelopeHeaders(envelope);
  headers.set(name, value);
  const [message] = await delivered([headers]);
  expect(() => message && envelopeOf(message)).toThrow(new RegExp(`header ${name}`));
});

test("a message without headers is no event", async () => {
  const [message] = await delivered([undefined], "NATS/1.0\r\nce-id: 17\r\n\r\n");
  expect(() => message && envelopeOf(message)).toThrow(MalformedEnvelopeError);
});
