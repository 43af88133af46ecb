import { BlockList, isIP } from "node:net";
import type { Check } from "#platform/rpc/validate.ts";

const HOST_NAME = /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\.?$/i;
/** Resolvers read 0x7f.1 and 127.1 as addresses: a name whose last part is a number is none (WHATWG URL, "ends in a number"). */
const ENDS_IN_NUMBER = /(^|\.)(\d+|0x[0-9a-f]*)\.?$/i;
/** Names that mean this machine or this local network, whoever resolves them. */
const LOCAL_NAME = /(^|\.)(localhost|local|internal|localdomain|home\.arpa)\.?$/i;

const notPublic = new BlockList();
for (const [network, prefix] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 3],
] as const) {
  notPublic.addSubnet(network, prefix, "ipv4");
}
for (const [network, prefix] of [
  // Besides the unspecified address and loopback the old ways to write an IPv4 address as an IPv6 one, with ::ffff:0,
  // 64:ff9b, 2001 and 2002: where they are still routed, they lead wherever the IPv4 address in them does.
  ["::", 96],
  ["::ffff:0:0:0", 96],
  ["64:ff9b::", 96],
  ["64:ff9b:1::", 48],
  ["2001::", 32],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
  // Nothing but 2000::/3 is given out for the whole internet.
  ["100::", 8],
  ["200::", 7],
  ["400::", 6],
  ["800::", 5],
  ["1000::", 4],
  ["4000::", 2],
  ["8000::", 1],
] as const) {
  notPublic.addSubnet(network, prefix, "ipv6");
}

/**
 * Rules of a declared address: a host name or IP address that clients anywhere can use, and a port. It is only handed to
 * clients; the registry never connects to it and never derives diversity from it.
 */
export function checkAddress(
  check: Check,
  field: string,
  address: { readonly host: string; readonly port: number } | undefined,
  allowsPrivate: boolean,
): void {
  check.present(field, address);
  if (address === undefined) return;
  check.int(`${field}.port`, address.port, { min: 1, max: 65_535 });
  const rule = hostRule(address.host, allowsPrivate);
  if (rule !== undefined) check.fail(`${field}.host`, rule);
}

function hostRule(host: string, allowsPrivate: boolean): string | undefined {
  const family = isIP(host);
  // A zone (fe80::1%eth0) means something on one machine only.
  if (host.includes("%")) return "must not have a zone";
  if (family === 0 && (!HOST_NAME.test(host) || ENDS_IN_NUMBER.test(host))) {
    return "must be a host name, an IPv4 address or an IPv6 address without brackets";
  }
  if (allowsPrivate) return undefined;
  return isPrivate(host, family) ? "must not be a loopback, link-local, private or reserved address" : undefined;
}

function isPrivate(host: string, family: number): boolean {
  if (family === 0) return LOCAL_NAME.test(host) || !host.includes(".");
  return notPublic.check(host, family === 4 ? "ipv4" : "ipv6");
}

/** A short text that a node says about itself and operators read in tables and logs: it must not move their cursor. */
export function checkLabel(check: Check, field: string, value: string, limits: { min?: number; max: number }): void {
  check.text(field, value, limits);
  // NUL and lone surrogates are named by the rule above.
  if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(value.replaceAll("\0", ""))) {
    check.fail(field, "must not contain control or formatting characters");
  }
}

/** The /24 (IPv4) or /64 (IPv6) of an address as PostgreSQL writes a cidr; "" for what is no address. */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  const host = mapped ?? address.replace(/%.*$/, "");
  const family = isIP(host);
  if (family === 4) return `${host.split(".").slice(0, 3).join(".")}.0/24`;
  return family === 6 ? `${networkOf6(host)}/64` : "";
}

function networkOf6(host: string): string {
  const groups = expandGroups(host).slice(0, 4);
  while (groups.length > 0 && groups.at(-1) === "0") groups.pop();
  return `${groups.join(":")}::`;
}

/** The eight groups of an IPv6 address without leading zeros; a dotted tail counts as two. */
function expandGroups(host: string): string[] {
  const [head = "", tail] = host.replace(/:\d+\.\d+\.\d+\.\d+$/, ":0:0").split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? [] : Array<string>(8 - left.length - right.length).fill("0");
  return [...left, ...zeros, ...right].map((group) => group.toLowerCase().replace(/^0+(?=.)/, ""));
}
