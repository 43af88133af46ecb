import type { IncomingMessage } from "node:http";
import type { Http2ServerRequest } from "node:http2";
import { isIP } from "node:net";
import type { Peer } from "#platform/rpc/caller.ts";

/** "::ffff:192.0.2.1" is how a dual-stack socket names an IPv4 peer; everybody else writes "192.0.2.1". */
export function plainAddress(address: string | undefined): string {
  return address?.startsWith("::ffff:") && address.includes(".") ? address.slice("::ffff:".length) : (address ?? "");
}

/**
 * Where a request comes from: the socket's address, or with trusted proxies in front the one that the outermost of them
 * saw, which is the `trustedProxyCount`-th from the right of X-Forwarded-For. What stands further left is the client's
 * own invention. A header with fewer entries did not pass all proxies, so the socket's address is used.
 */
export function peerOf(request: IncomingMessage | Http2ServerRequest, trustedProxyCount: number): Peer {
  const { socket } = request;
  const direct: Peer = {
    host: plainAddress(socket.remoteAddress),
    ...(socket.remotePort === undefined ? {} : { port: socket.remotePort }),
    isEncrypted: "encrypted" in socket,
  };
  if (trustedProxyCount === 0) return direct;
  const host = fromRight(request.headers["x-forwarded-for"], trustedProxyCount);
  if (host === undefined) return direct;
  const scheme = fromRight(request.headers["x-forwarded-proto"], 1);
  return { host, isEncrypted: scheme === "https" };
}

function fromRight(header: string | string[] | undefined, position: number): string | undefined {
  if (header === undefined) return undefined;
  const entries = (typeof header === "string" ? header : header.join(",")).split(",");
  const entry = entries.at(-position)?.trim() ?? "";
  if (isIP(entry) !== 0 || entry === "https" || entry === "http") return plainAddress(entry);
  const unwrapped = /^\[([^\]]+)\](?::\d+)?$|^([\d.]+):\d+$/.exec(entry);
  const address = unwrapped?.[1] ?? unwrapped?.[2] ?? "";
  return isIP(address) === 0 ? undefined : plainAddress(address);
}
