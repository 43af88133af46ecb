import type { Http2Session, ServerHttp2Stream } from "node:http2";

const peers = new WeakMap<Http2Session, string>();

/** `address:port` of the other end, as grpc-js writes it; asking a session for its socket costs a microsecond per call. */
export function peerOf({ session }: ServerHttp2Stream): string {
  if (session === undefined) return "unknown";
  const known = peers.get(session);
  if (known !== undefined) return known;
  const peer = `${session.socket.remoteAddress}:${session.socket.remotePort}`;
  peers.set(session, peer);
  return peer;
}
