import { transact } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import { uuidv7 } from "#platform/time/uuid.ts";
import { isThere } from "../chunks/availability.worker.ts";
import { type Chunk, lockChunks } from "../chunks/chunks.store.ts";
import { readPendingDeletions } from "../chunks/deletions.store.ts";
import { sortedHashes } from "../chunks/hashes.ts";
import { addAssignments, collectHoldingChanges } from "../chunks/holdings.store.ts";
import { togetherOrOneByOne } from "../chunks/one-by-one.worker.ts";
import { insertReplicas, type Pair, type Replica, readReplicas } from "../chunks/replicas.store.ts";
import { pairKey } from "../chunks/report-outcomes.ts";
import type { PlaceRequest } from "../placement/placer.ts";
import { findChallenged } from "../proofs/challenges.store.ts";
import { countBeingSent } from "./being-sent.worker.ts";
import type { RepairDeps } from "./repair-deps.ts";
import { insertRepairs, type Repair } from "./repairs.store.ts";
import { missingReplicas } from "./urgency.ts";

export interface Started {
  readonly started: readonly Repair[];
  /** Chunks that lack a source or a target at the moment. */
  readonly stuck: readonly string[];
}

interface Plan {
  readonly chunk: Chunk;
  readonly blockIndex: number;
  readonly request: PlaceRequest;
}

/**
 * Chooses nodes for what is missing of these chunks and assigns it to them, in one transaction and under the chunks'
 * locks: whatever was planned before, only what is still missing now is assigned. `fetching` counts what nodes have
 * under way, and is kept so: each gets up to `budget`. What draining nodes have does not count, since they are to leave.
 * A chunk that fails every time counts as stuck, and costs the others nothing but a second try.
 */
export async function startRepairs(
  deps: RepairDeps,
  hashes: readonly string[],
  fetching: Map<bigint, number>,
  budget = deps.config.REPAIR_NODE_BUDGET,
): Promise<Started> {
  const started: Repair[] = [];
  const stuck = new Set(hashes);
  const start = async (some: readonly string[]) => {
    const made = await startTogether(deps, some, fetching, budget);
    for (const { nodeRowId } of made.started) fetching.set(nodeRowId, (fetching.get(nodeRowId) ?? 0) + 1);
    started.push(...made.started);
    const isStuck = new Set(made.stuck);
    for (const chunkHash of some) if (!isStuck.has(chunkHash)) stuck.delete(chunkHash);
  };
  await togetherOrOneByOne(deps, hashes, start, (chunkHash) => chunkHash);
  return { started, stuck: [...stuck] };
}

async function startTogether(
  deps: RepairDeps,
  hashes: readonly string[],
  fetching: ReadonlyMap<bigint, number>,
  budget: number,
): Promise<Started> {
  const busyNodes = [...fetching].filter(([, count]) => count >= budget).map(([nodeRowId]) => nodeRowId);
  const result = await transact(deps, async (tx) => {
    const locked = await lockChunks(tx, sortedHashes(hashes));
    const { plans, stuck } = await planRepairs(deps, tx, locked, busyNodes);
    const placement = deps.placer.place(plans.map((plan) => plan.request));
    const chosen = plans.map((plan) => ({ plan, nodes: placement?.nodes.get(plan.chunk.chunkHash) ?? [] }));
    const taken = new Map(fetching);
    const fitting = chosen.flatMap(({ plan, nodes }) =>
      nodes.flatMap((nodeRowId) => {
        const count = taken.get(nodeRowId) ?? 0;
        taken.set(nodeRowId, count + 1);
        // Beyond its budget within this very batch: the next round chooses again.
        return count < budget ? [toRepair(deps, plan.chunk, nodeRowId)] : [];
      }),
    );
    const started = await withoutAsked(tx, fitting);
    const blocks = new Map(plans.map((plan) => [plan.chunk.chunkHash, plan.blockIndex]));
    await assign(deps, tx, started, blocks);
    const without = chosen.filter(({ nodes }) => nodes.length === 0).map(({ plan }) => plan);
    return { started, stuck: [...stuck, ...withoutTarget(deps, without, busyNodes)] };
  });
  for (const { nodeRowId, sizeBytes } of result.started) deps.placer.assigned(nodeRowId, Number(sizeBytes));
  return result;
}

/**
 * Not to a node that was asked to prove this very chunk and then said that it has lost it: its challenge must find the
 * replica gone, or the word would have saved the node from what it is to cost. A later round may choose it.
 */
async function withoutAsked(tx: Transaction, repairs: readonly Repair[]): Promise<Repair[]> {
  if (repairs.length === 0) return [];
  const asked = await findChallenged(tx, repairs);
  const isAsked = new Set(asked.map(({ nodeRowId, chunkHash }) => pairKey(nodeRowId, chunkHash)));
  return repairs.filter(({ nodeRowId, chunkHash }) => !isAsked.has(pairKey(nodeRowId, chunkHash)));
}

/** Those that no node could take even if none were busy: the others only wait for their turn. */
function withoutTarget(deps: RepairDeps, plans: readonly Plan[], busyNodes: readonly bigint[]): string[] {
  const isBusy = new Set(busyNodes);
  const idle = deps.placer.place(
    plans.map(({ request }) => ({ ...request, barred: request.barred.filter((nodeRowId) => !isBusy.has(nodeRowId)) })),
  );
  return plans
    .map(({ chunk }) => chunk.chunkHash)
    .filter((chunkHash) => (idle?.nodes.get(chunkHash) ?? []).length === 0);
}

async function planRepairs(
  deps: RepairDeps,
  tx: Transaction,
  locked: readonly Chunk[],
  busyNodes: readonly bigint[],
): Promise<{ plans: Plan[]; stuck: string[] }> {
  const hashes = locked.map((chunk) => chunk.chunkHash);
  const replicas = Map.groupBy(await readReplicas(tx, hashes), (replica) => replica.chunkHash);
  const deletions = Map.groupBy(await readPendingDeletions(tx, hashes), (pair: Pair) => pair.chunkHash);
  const beingSent = await countBeingSent(deps, tx, hashes);
  const plans: Plan[] = [];
  const stuck: string[] = [];
  for (const chunk of locked) {
    if (chunk.isReleased || !chunk.hasQuorum) continue;
    const known = replicas.get(chunk.chunkHash) ?? [];
    const sources = known.filter((replica) => isSource(deps, replica));
    const fetching = known.filter((replica) => replica.state === "assigned" && replica.isRepair).length;
    const confirmedReplicas = known.filter(
      ({ state, nodeRowId }) => state === "confirmed" && deps.view.nodeByRowId(nodeRowId)?.state !== "draining",
    ).length;
    const sent = beingSent.get(chunk.chunkHash) ?? 0;
    const count = missingReplicas({ ...chunk, confirmedReplicas, liveReplicas: sources.length }, fetching, sent);
    if (count === 0) {
      if (sources.length === 0) stuck.push(chunk.chunkHash);
      continue;
    }
    const barred = (deletions.get(chunk.chunkHash) ?? []).map((pair) => pair.nodeRowId);
    plans.push({
      chunk,
      blockIndex: known[0]?.blockIndex ?? 0,
      request: {
        chunkHash: chunk.chunkHash,
        sizeBytes: chunk.sizeBytes,
        count,
        // Also those that were lost with their nodes: a node that is back reports them itself, and must not be told meanwhile
        // to fetch, or to give back, what it has.
        holders: known.map((replica) => replica.nodeRowId),
        barred: [...barred, ...busyNodes],
        isOptional: true,
      },
    });
  }
  return { plans, stuck };
}

function isSource(deps: RepairDeps, replica: Replica): boolean {
  return replica.state === "confirmed" && isThere(deps.view.nodeByRowId(replica.nodeRowId));
}

function toRepair(deps: RepairDeps, chunk: Chunk, nodeRowId: bigint): Repair {
  return {
    chunkHash: chunk.chunkHash,
    nodeRowId,
    commandId: uuidv7(deps.clock),
    generation: chunk.generation,
    sizeBytes: chunk.sizeBytes,
    deadline: deps.clock.now().add({ milliseconds: deps.config.REPAIR_TIMEOUT }),
  };
}

async function assign(
  deps: RepairDeps,
  tx: Transaction,
  repairs: readonly Repair[],
  blocks: ReadonlyMap<string, number>,
): Promise<void> {
  const now = deps.clock.now();
  await insertReplicas(
    tx,
    repairs.map((repair) => ({ ...repair, blockIndex: blocks.get(repair.chunkHash) ?? 0 })),
    now,
    { isRepair: true, firstProofWithinMs: deps.config.PROOF_FIRST_WITHIN },
  );
  const changes = collectHoldingChanges();
  for (const { nodeRowId, sizeBytes } of repairs) {
    const change = changes.of(nodeRowId);
    change.assignedChunks += 1n;
    change.assignedBytes += sizeBytes;
  }
  await addAssignments(tx, changes);
  await insertRepairs(tx, repairs, now);
}
