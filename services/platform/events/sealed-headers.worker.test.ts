import { expect, test } from "vitest";
import { connectNats } from "../nats/connect.ts";
import { createTestLogger } from "../testing/test-database.ts";
import { startTestNats } from "../testing/test-nats.ts";
import { type Envelope, envelopeFrom, envelopeHeaders } from "./envelope.ts";
import { sealedHeaders } from "./sealed-headers.ts";

const envelope: Envelope = {
  eventId: "0199a000-0000-7000-8000-000000000001",
  type: "decentrastore.events.v1.UserRegistered",
  source: "/decentrastore/auth",
  key: "0199a000-0000-7000-8000-000000000002",
  keyVersion: 3n,
  sequence: 100_042n,
  time: Temporal.Instant.from("2026-01-02T03:04:05.678901Z"),
};
const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

test("a receiver sees the same headers as those that are put together one by one", async () => {
  await using broker = await startTestNats();
  await using nats = await connectNats({ url: broker.url("auth"), name: "auth", log: createTestLogger() });
  const received: Record<string, string>[] = [];
  nats.connection.subscribe("decentrastore.user.>", {
    callback: (_error, { headers }) => {
      expect(envelopeFrom(headers).eventId).toBe(envelope.eventId);
      received.push(Object.fromEntries([...(headers ?? [])].map(([name, values]) => [name, values.join()])));
    },
  });
  for (const one of [envelope, { ...envelope, traceparent }]) {
    for (const headers of [sealedHeaders(one), envelopeHeaders(one)]) {
      nats.publish("decentrastore.user.registered.x", new Uint8Array(), headers);
    }
  }
  nats.publish("decentrastore.user.registered.x", new Uint8Array(), sealedHeaders(envelope, "USERS"));
  await nats.connection.flush();
  expect(received).toHaveLength(5);
  expect(received[0]).toEqual(received[1]);
  expect(received[2]).toEqual(received[3]);
  expect(received[4]).toEqual({ ...received[0], "Nats-Expected-Stream": "USERS" });
});

test.each(["a\r\nNats-Rollup: all", "a\nb", "\r\n\r\nx"])("a key of %j cannot add headers", (key) => {
  expect(() => sealedHeaders({ ...envelope, key })).toThrow(/line break/);
});
