import { Code, type HandlerContext } from "@connectrpc/connect";
import type { Pool } from "#platform/postgres/pool.ts";
import { nodeIdOf } from "#platform/rpc/caller.ts";
import { registryError } from "../errors.ts";
import type { NodeRecord } from "./node-record.ts";
import type { NodeTable } from "./node-table.ts";
import { findNodeRecord } from "./nodes.store.ts";

/** Like `callingNode` for a node that the view knows, without a promise; undefined where it has to be asked for. */
export function knownCallingNode(deps: { readonly view: NodeTable }, context: HandlerContext): NodeRecord | undefined {
  const record = deps.view.node(nodeIdOf(context));
  if (record !== undefined) assertAdmitted(record);
  return record;
}

/**
 * The node behind a call on the node edge, as the directory knows it at this moment: call it for every message. Refuses
 * with NODE_DISQUALIFIED, NODE_DEREGISTERED, or NODE_CERTIFICATE_INVALID where no node was enrolled with this key.
 */
export async function callingNode(
  deps: { readonly pool: Pool; readonly view: NodeTable },
  context: HandlerContext,
): Promise<NodeRecord> {
  const record = await findNode(deps, nodeIdOf(context));
  if (record === undefined) {
    throw registryError(
      Code.Unauthenticated,
      "NODE_CERTIFICATE_INVALID",
      "the certificate names no enrolled node: enroll with a join token",
    );
  }
  assertAdmitted(record);
  return record;
}

/** From the view, or from the database where the node enrolled a moment ago on another process. */
export async function findNode(
  deps: { readonly pool: Pool; readonly view: NodeTable },
  nodeId: string,
): Promise<NodeRecord | undefined> {
  const known = deps.view.node(nodeId);
  if (known !== undefined) return known;
  const stored = await findNodeRecord(deps.pool, nodeId);
  return stored === undefined ? undefined : deps.view.put(stored);
}

export function assertAdmitted(record: NodeRecord): void {
  if (record.state === "disqualified") {
    throw registryError(
      Code.PermissionDenied,
      "NODE_DISQUALIFIED",
      "this node is disqualified; only an admin can bring it back",
    );
  }
  if (record.state === "deregistered") {
    throw registryError(
      Code.PermissionDenied,
      "NODE_DEREGISTERED",
      "this node has left the network; it may enroll again with a join token",
    );
  }
}
