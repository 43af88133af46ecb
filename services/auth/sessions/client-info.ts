import type { HandlerContext } from "@connectrpc/connect";
import { peerAddressOf } from "#platform/rpc/caller.ts";

/** Where a call came from, as sessions and the audit trail keep it. */
export interface ClientInfo {
  readonly address: string;
  /** Cut at 256 characters. */
  readonly userAgent: string;
}

export function clientInfoOf(context: HandlerContext): ClientInfo {
  const userAgent = context.requestHeader.get("user-agent") ?? "";
  return {
    address: peerAddressOf(context).host,
    // Zero bytes cannot be stored, and nobody's log should show control characters.
    userAgent: [...userAgent.toWellFormed().replaceAll(/\p{Cc}/gu, "")].slice(0, 256).join(""),
  };
}
