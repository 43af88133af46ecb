import { Code, type HandlerContext } from "@connectrpc/connect";
import type { Pool } from "#platform/postgres/pool.ts";
import { nodeIdOf } from "#platform/rpc/caller.ts";
import { systemClock } from "#platform/time/clock.ts";
import { registryError } from "../errors.ts";
import { createChangeGuard } from "./change-guard.ts";
import type { NodeRecord } from "./node-record.ts";
import type { NodeTable } from "./node-table.ts";
import { findNodeRecord } from "./nodes.store.ts";

interface CallingDeps {
  readonly pool: Pool;
  readonly view: NodeTable;
}

/** Like `callingNode` for a node that the view admits, without a promise; undefined where it has to be asked for. */
export function knownCallingNode(deps: { readonly view: NodeTable }, context: HandlerContext): NodeRecord | undefined {
  const record = deps.view.node(nodeIdOf(context));
  return record === undefined || isShutOut(record) ? undefined : record;
}

/**
 * The node behind a call on the node edge, as the directory knows it at this moment: call it for every message. Refuses
 * with NODE_DISQUALIFIED, NODE_DEREGISTERED, or NODE_CERTIFICATE_INVALID where no node was enrolled with this key.
 */
export async function callingNode(deps: CallingDeps, context: HandlerContext): Promise<NodeRecord> {
  const record = await findAdmissible(deps, nodeIdOf(context));
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

// Of each entry of a view: what a node that is shut out may ask of the database at once, and then every ten seconds.
const mayLook = createChangeGuard(20);

/** What the view calls shut out may have come back on another process a moment ago, and then comes here next. */
async function findAdmissible(deps: CallingDeps, nodeId: string): Promise<NodeRecord | undefined> {
  const known = await findNode(deps, nodeId);
  if (known === undefined || !isShutOut(known) || !mayLook(known, systemClock.monotonicMs())) return known;
  const stored = await findNodeRecord(deps.pool, nodeId);
  return stored === undefined ? known : deps.view.put(stored);
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

function isShutOut({ state }: NodeRecord): boolean {
  return state === "disqualified" || state === "deregistered";
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
