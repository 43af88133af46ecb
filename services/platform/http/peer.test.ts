import { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import { expect, test } from "vitest";
import { peerOf, plainAddress } from "./peer.ts";

function requestFrom(address: string, headers: Record<string, string>): IncomingMessage {
  const socket = new Socket();
  Object.defineProperty(socket, "remoteAddress", { value: address });
  Object.defineProperty(socket, "remotePort", { value: 5_000 });
  const request = new IncomingMessage(socket);
  Object.assign(request.headers, headers);
  return request;
}

test("without trusted proxies nothing that a client says about its address counts", () => {
  const request = requestFrom("::ffff:192.0.2.9", { "x-forwarded-for": "10.0.0.1", "x-forwarded-proto": "https" });
  expect(peerOf(request, 0)).toEqual({ host: "192.0.2.9", port: 5_000, isEncrypted: false });
});

test.each([
  [1, "203.0.113.7", "203.0.113.7"],
  [1, "10.0.0.1, 203.0.113.7", "203.0.113.7"],
  [2, "10.0.0.1, 203.0.113.7, 10.1.1.1", "203.0.113.7"],
  [1, "[2001:db8::1]:4711", "2001:db8::1"],
  [1, "203.0.113.7:4711", "203.0.113.7"],
  [1, "2001:db8::1", "2001:db8::1"],
  // Not what a trusted proxy writes: the socket's address.
  [2, "203.0.113.7", "192.0.2.9"],
  [1, "unknown", "192.0.2.9"],
  [1, "203.0.113.7, ", "192.0.2.9"],
  [1, "", "192.0.2.9"],
])("with %i trusted proxies %j is %s", (count, header, host) => {
  expect(peerOf(requestFrom("192.0.2.9", { "x-forwarded-for": header }), count).host).toBe(host);
});

test("a proxy tells whether the client's side was TLS", () => {
  const headers = { "x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https" };
  expect(peerOf(requestFrom("192.0.2.9", headers), 1).isEncrypted).toBe(true);
});

test("an IPv6 address that is no IPv4 one stays as it is", () => {
  expect([plainAddress("::ffff:c000:209"), plainAddress("fe80::1"), plainAddress(undefined)]).toEqual([
    "::ffff:c000:209",
    "fe80::1",
    "",
  ]);
});
