import { ReplicaLossCause } from "#gen/decentrastore/node_registry/v1/chunk_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import { recordLosses } from "../chunks/record-losses.worker.ts";
import type { RepairDeps } from "./repair-deps.ts";
import { findDeparted, readConfirmedOfNode } from "./repairs.store.ts";

const BATCH = 500;
const BATCHES_PER_ROUND = 10;
// When more of the network than this is silent at once, the network is more likely to be cut than the nodes to be gone.
const MAX_OFFLINE_SHARE = 0.3;
const MIN_OFFLINE_NODES = 5;

/**
 * Counts the replicas of nodes that are gone as lost, some thousand per round. They come back by the node's own report
 * when it does. True while there is more to do.
 */
export async function recordDepartures(deps: RepairDeps): Promise<boolean> {
  const isCut = isNetworkCut(deps);
  let batches = 0;
  for (const { nodeRowId, nodeId, state } of await findDeparted(deps.pool, deps.config.REPAIR_OFFLINE_AFTER)) {
    const cause = causes.get(state) ?? ReplicaLossCause.NODE_OFFLINE;
    if (isCut && cause === ReplicaLossCause.NODE_OFFLINE) continue;
    for (let isMore = true; isMore; batches += 1) {
      if (batches >= BATCHES_PER_ROUND) return true;
      const hashes = await readConfirmedOfNode(deps.pool, nodeRowId, BATCH);
      const losses = hashes.map((chunkHash) => ({ chunkHash, nodeRowId, nodeId }));
      if (losses.length > 0) await transact(deps, (tx) => recordLosses(deps, tx, losses, { cause, mayReturn: true }));
      isMore = hashes.length === BATCH;
    }
  }
  return false;
}

const causes: ReadonlyMap<string, ReplicaLossCause> = new Map([
  ["disqualified", ReplicaLossCause.NODE_DISQUALIFIED],
  ["deregistered", ReplicaLossCause.NODE_DEREGISTERED],
]);

function isNetworkCut({ view }: Pick<RepairDeps, "view">): boolean {
  const present = view.candidates().filter((node) => node.state === "in_service" || node.state === "draining");
  const known = present.filter((node) => node.liveness !== "never_seen");
  const offline = known.filter((node) => node.liveness === "offline").length;
  return offline >= MIN_OFFLINE_NODES && offline > MAX_OFFLINE_SHARE * known.length;
}
