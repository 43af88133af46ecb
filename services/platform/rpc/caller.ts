import { createContextKey, type HandlerContext } from "@connectrpc/connect";

/** Who makes a call, as proven by a token or a client certificate. */
export type Caller =
  | { readonly kind: "anonymous" }
  | { readonly kind: "user"; readonly userId: string; readonly sessionId: string; readonly isAdmin: boolean }
  | { readonly kind: "service"; readonly clientId: string; readonly scopes: ReadonlySet<string> }
  | { readonly kind: "node"; readonly nodeId: string; readonly certificate?: CertificateInUse };

/** What a connection has proved a node with; in milliseconds since 1970. */
export interface CertificateInUse {
  readonly expiresAtMs: number;
  readonly connectedAtMs: number;
}

export type CallerOf<K extends Caller["kind"]> = Extract<Caller, { kind: K }>;

/** Where a call comes from: the socket's address, or the one that the trusted proxies report. */
export interface Peer {
  readonly host: string;
  readonly port?: number;
  /** Whether the client's side of the connection was TLS (for a trusted proxy: what X-Forwarded-Proto says). */
  readonly isEncrypted: boolean;
}

export const anonymous: Caller = { kind: "anonymous" };
export const callerKey = createContextKey<Caller>(anonymous, { description: "caller" });
// A function, because most handlers never ask and X-Forwarded-For has to be parsed for it.
export const peerKey = createContextKey<() => Peer>(() => ({ host: "", isEncrypted: false }), { description: "peer" });

/** Whether what the caller has shown was revoked since it was looked at; for streams, which outlive that look. */
export const revokedKey = createContextKey<(() => boolean) | undefined>(undefined, { description: "revoked" });

export function callerOf(context: HandlerContext): Caller {
  return context.values.get(callerKey);
}

/** The signed-in user. Only for RPCs whose access rule admits nobody else: otherwise it throws (INTERNAL). */
export function userCallerOf(context: HandlerContext): CallerOf<"user"> {
  const caller = callerOf(context);
  if (caller.kind !== "user") throw wrongKind(context, caller);
  return caller;
}

/** The calling service. Only for RPCs whose access rule admits nobody else: otherwise it throws (INTERNAL). */
export function serviceCallerOf(context: HandlerContext): CallerOf<"service"> {
  const caller = callerOf(context);
  if (caller.kind !== "service") throw wrongKind(context, caller);
  return caller;
}

/** The node whose certificate the connection proved. Only for RPCs of the node edge: otherwise it throws (INTERNAL). */
export function nodeIdOf(context: HandlerContext): string {
  return nodeCallerOf(context).nodeId;
}

/** Like `nodeIdOf`, with the certificate. */
export function nodeCallerOf(context: HandlerContext): CallerOf<"node"> {
  const caller = callerOf(context);
  if (caller.kind !== "node") throw wrongKind(context, caller);
  return caller;
}

export function peerAddressOf(context: HandlerContext): Peer {
  return context.values.get(peerKey)();
}

/** For log lines: "user:<id>", "service:<id>", "node:<id>", "anonymous". */
export function describeCaller(caller: Caller): string {
  switch (caller.kind) {
    case "anonymous":
      return "anonymous";
    case "user":
      return `user:${caller.userId}`;
    case "service":
      return `service:${caller.clientId}`;
    case "node":
      return `node:${caller.nodeId}`;
  }
}

function wrongKind(context: HandlerContext, caller: Caller): Error {
  return new Error(
    `${context.method.name} was reached by a caller of kind ${caller.kind}: its access rule is too wide`,
  );
}
