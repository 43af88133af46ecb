import { ReplicaLossCause } from "#gen/decentrastore/node_registry/v1/chunk_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import { oneByOne, togetherOrOneByOne } from "../chunks/one-by-one.worker.ts";
import { recordLosses } from "../chunks/record-losses.worker.ts";
import type { RepairDeps } from "./repair-deps.ts";
import { type Departed, findDeparted, readConfirmedOfNode, readSilence } from "./repairs.store.ts";
import { isCut } from "./together.ts";

const BATCH = 500;
const BATCHES_PER_ROUND = 10;
// What counts as silent at once: an outage of ours ends for some nodes sooner than for others.
const TOGETHER_MS = 3_600_000;

/** How far departed nodes have been counted out. A successor begins anew. */
export interface DepartureWalk {
  /** The last chunk of each that was counted, by storage_nodes.id: what is lost already is not read again and again. */
  readonly after: Map<bigint, string>;
  /** Nodes that are not counted out because too many are silent. */
  held: number;
}

/**
 * Counts the replicas of nodes that are gone as lost, some thousand per round. They come back by the node's own report
 * when it does. True while there is more to do.
 */
export async function recordDepartures(deps: RepairDeps, walk: DepartureWalk): Promise<boolean> {
  const departed = await findDeparted(deps.pool, deps.config.REPAIR_OFFLINE_AFTER);
  const ids = new Set(departed.map(({ nodeRowId }) => nodeRowId));
  for (const nodeRowId of walk.after.keys()) if (!ids.has(nodeRowId)) walk.after.delete(nodeRowId);
  const gone = await withoutCut(deps, walk, departed);
  let batches = 0;
  const countOut = async (node: Departed) => {
    for (let isMore = true; isMore && batches < BATCHES_PER_ROUND; batches += 1)
      isMore = await countBatch(deps, walk, node);
  };
  await oneByOne(deps, gone, countOut, { nameOf: ({ nodeId }) => nodeId });
  return batches >= BATCHES_PER_ROUND;
}

/** Answers whether the node may have more. */
async function countBatch(deps: RepairDeps, { after }: DepartureWalk, node: Departed): Promise<boolean> {
  const { nodeRowId, nodeId } = node;
  const hashes = await readConfirmedOfNode(deps.pool, nodeRowId, BATCH, after.get(nodeRowId));
  const last = hashes.at(-1);
  if (hashes.length < BATCH || last === undefined) after.delete(nodeRowId);
  else after.set(nodeRowId, last);
  const terms = { cause: causeOf(node), mayReturn: true };
  await togetherOrOneByOne(
    deps,
    hashes.map((chunkHash) => ({ chunkHash, nodeRowId, nodeId })),
    (losses) => transact(deps, (tx) => recordLosses(deps, tx, losses, terms)),
    ({ chunkHash }) => chunkHash,
  );
  return hashes.length === BATCH;
}

/** Without nodes that are silent together with too many others. */
async function withoutCut(deps: RepairDeps, walk: DepartureWalk, departed: readonly Departed[]): Promise<Departed[]> {
  const isSilent = (node: Departed) => causeOf(node) === ReplicaLossCause.NODE_OFFLINE;
  const silence = departed.some(isSilent) ? await readSilence(deps.pool) : { heard: 0, silentSinceMs: [] };
  const gone = departed.filter((node) => !isSilent(node) || !isCut(silence, node.livenessSinceMs, TOGETHER_MS));
  const held = departed.length - gone.length;
  if (held > 0 && walk.held === 0) {
    // Nothing ends this while they stay away: whether they are gone or the fault is ours, a human must tell.
    deps.log.error(
      { nodes: held },
      "too many nodes fell silent at once: their replicas are not counted as lost; if they are gone, set their state",
    );
  }
  walk.held = held;
  return gone;
}

const causes: ReadonlyMap<string, ReplicaLossCause> = new Map([
  ["disqualified", ReplicaLossCause.NODE_DISQUALIFIED],
  ["deregistered", ReplicaLossCause.NODE_DEREGISTERED],
]);

function causeOf({ state }: Departed): ReplicaLossCause {
  return causes.get(state) ?? ReplicaLossCause.NODE_OFFLINE;
}
