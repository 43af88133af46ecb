import { createHash } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { plainAddress } from "#platform/http/peer.ts";
import type { CallerOf, Peer } from "#platform/rpc/caller.ts";

/** What a mutual TLS connection has proven. */
export interface NodeConnection {
  readonly caller: CallerOf<"node">;
  /** When the client's certificate expires, in milliseconds since 1970. */
  readonly validToMs: number;
  readonly socket: TLSSocket;
  /** Where its calls come from, made once for all of them. */
  readonly peer: () => Peer;
}

export interface NodeConnections {
  /** Undefined for a socket that proves nothing or repeats a live address, which cannot be: it must be closed. */
  admit(socket: TLSSocket): NodeConnection | undefined;
  /** By `address:port` as grpc-js reports the peer of a call. */
  find(peer: string): NodeConnection | undefined;
  readonly size: number;
}

/**
 * Which node is at the other end of each connection, found once per connection: asking grpc-js for the certificate in
 * every call costs 40 % of the unary throughput. Address and port of a live connection are unique, and the entry goes
 * with the connection, so a port that is used again cannot inherit an identity.
 *
 * A node has `maxPerNode` connections at most. Beyond that its oldest goes, because after a network failure the old ones
 * are the dead ones.
 */
export function createNodeConnections(maxPerNode: number): NodeConnections {
  const byPeer = new Map<string, NodeConnection>();
  const byNode = new Map<string, Set<NodeConnection>>();

  const forget = (peer: string, connection: NodeConnection) => {
    byPeer.delete(peer);
    const others = byNode.get(connection.caller.nodeId);
    others?.delete(connection);
    if (others?.size === 0) byNode.delete(connection.caller.nodeId);
  };

  return {
    get size() {
      return byPeer.size;
    },
    find: (peer) => byPeer.get(peer),
    admit: (socket) => {
      const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined;
      const peer = `${socket.remoteAddress}:${socket.remotePort}`;
      if (certificate === undefined || socket.remoteAddress === undefined || byPeer.has(peer)) return undefined;
      const spki = certificate.publicKey.export({ type: "spki", format: "der" });
      const nodeId = createHash("sha256").update(spki).digest("hex");
      const origin = {
        host: plainAddress(socket.remoteAddress),
        ...(socket.remotePort === undefined ? {} : { port: socket.remotePort }),
        isEncrypted: true,
      };
      const validToMs = certificate.validToDate.getTime();
      const connection: NodeConnection = {
        caller: { kind: "node", nodeId, certificate: { expiresAtMs: validToMs, connectedAtMs: Date.now() } },
        validToMs,
        socket,
        peer: () => origin,
      };
      const ofNode = byNode.get(nodeId) ?? new Set<NodeConnection>();
      const [oldest] = ofNode;
      if (ofNode.size >= maxPerNode) oldest?.socket.destroy();
      byPeer.set(peer, connection);
      byNode.set(nodeId, ofNode.add(connection));
      socket.once("close", () => forget(peer, connection));
      return connection;
    },
  };
}
