import { headers as newHeaders } from "nats";
import { expect, test } from "vitest";
import { type Envelope, envelopeFrom, envelopeHeaders, MalformedEnvelopeError } from "./envelope.ts";

const envelope: Envelope = {
  eventId: "0199a000-0000-7000-8000-000000000001",
  type: "decentrastore.events.v1.UserRegistered",
  source: "/decentrastore/auth",
  key: "0199a000-0000-7000-8000-000000000002",
  keyVersion: 3n,
  sequence: 100_042n,
  time: Temporal.Instant.from("2026-01-02T03:04:05.678901Z"),
  traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
};

test("an envelope survives its headers, with its microseconds", () => {
  expect(envelopeFrom(envelopeHeaders(envelope))).toEqual(envelope);
  const { traceparent: _, ...without } = envelope;
  expect(envelopeFrom(envelopeHeaders(without))).toEqual(without);
  const requeued = { ...envelope, requeue: { consumer: "user-quota-users", streamSequence: 17n } };
  expect(envelopeFrom(envelopeHeaders(requeued))).toEqual(requeued);
});

test.each([
  ["ce-id", "17"],
  ["ce-id", ""],
  ["ce-type", ""],
  ["ce-time", "yesterday"],
  ["ce-sequence", "1.5"],
  ["ce-keyversion", "99999999999999999999"],
])("a header %s of %j is named in the refusal", (name, value) => {
  const headers = envelopeHeaders(envelope);
  headers.set(name, value);
  expect(() => envelopeFrom(headers)).toThrow(new RegExp(`header ${name}`));
});

test("a message without headers is no event", () => {
  expect(() => envelopeFrom(undefined)).toThrow(MalformedEnvelopeError);
  expect(() => envelopeFrom(newHeaders())).toThrow(MalformedEnvelopeError);
});
