import { expect, test } from "vitest";
import { validate } from "#platform/rpc/validate.ts";
import { checkAddress, networkOf } from "./address.ts";

function isAccepted(host: string, allowsPrivate = false, port = 4_000): boolean {
  try {
    validate((check) => checkAddress(check, "address", { host, port }, allowsPrivate));
    return true;
  } catch {
    return false;
  }
}

test.each([
  "node.example.org",
  "8.8.8.8",
  "2a00:1450::1",
  "2001:4860::1",
  "::ffff:8.8.8.8",
  "xn--bcher-kva.example",
  "a.b-c.example.",
])("%s is an address for clients", (host) => expect(isAccepted(host)).toBe(true));

test.each([
  ...["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.1.1", "0.0.0.0", "224.0.0.1"],
  ...["::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "localhost", "printer.local", "intranet"],
  ...["::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1", "fec0::1", "::ffff:7f00:1"],
  ...["::ffff:0:10.0.0.1", "3fff::1", "5f00::1", "200::1", "1fff::1", "4000::1", "8000::1", "fdff::1", "100::1"],
])("%s is only an address where private ones are allowed", (host) => {
  expect(isAccepted(host)).toBe(false);
  expect(isAccepted(host, true)).toBe(true);
});

test.each([
  "",
  " ",
  "a b",
  "[::1]",
  "fe80::1%eth0",
  "1.2.3",
  "256.1.1.1",
  "http://x.example",
  "x.example:80",
  "-a.example",
  ...["0x7f.1", "0x7f000001", "127.1", "2130706433", "node.0x1", "node.5", "node.5."],
])("%j is never an address", (host) => expect(isAccepted(host, true)).toBe(false));

test.each([0, -1, 65_536])("port %d is refused", (port) => expect(isAccepted("8.8.8.8", false, port)).toBe(false));

test.each([
  ["203.0.113.77", "203.0.113.0/24"],
  ["::ffff:203.0.113.77", "203.0.113.0/24"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
  ["2001:db8::1", "2001:db8::/64"],
  ["2001:0db8:0000:0001::9", "2001:db8:0:1::/64"],
  ["::1", "::/64"],
  ["fe80::1%eth0", "fe80::/64"],
  ["nonsense", ""],
])("%s connects from %s", (address, network) => expect(networkOf(address)).toBe(network));
