import type { ReplicaLossCause } from "#gen/decentrastore/node_registry/v1/chunk_pb.ts";
import type { OutboxEvent } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import type { Deps } from "../deps.ts";
import { type Availabilities, countsAsLive } from "./availability.ts";
import { digestTermOf, negated } from "./chunk-digest.ts";
import { chunkLost } from "./chunk-lost.event.ts";
import { type Chunk, lockChunks, saveProgress } from "./chunks.store.ts";
import { sortedHashes } from "./hashes.ts";
import { changeHoldings, collectHoldingChanges } from "./holdings.store.ts";
import { deleteReplicas, markReplicasLost, type Pair, readPairs } from "./replicas.store.ts";
import { saveHealth } from "./under-replicated.store.ts";

/** A replica that is gone, with the name that its event gives the node. */
export interface Loss extends Pair {
  readonly nodeId: string;
}

export interface LossTerms {
  readonly cause: ReplicaLossCause;
  /**
   * Whether the replica may come back with its node (offline, shut out): the node then confirms it again by reporting
   * it. Otherwise its row goes, and the node may be given the chunk anew.
   */
  readonly mayReturn: boolean;
}

/**
 * Confirmed replicas stop counting: numbers, running figures, the list of under-replicated chunks and chunk.lost, all in
 * this transaction. The quorum is not reopened and the charge stays. What was not confirmed is passed over; answers what
 * was lost. Locks chunks, then holdings: call it before anything else takes those.
 */
export async function recordLosses(
  deps: Pick<Deps, "clock" | "outbox">,
  tx: Transaction,
  losses: readonly Loss[],
  terms: LossTerms,
): Promise<readonly Loss[]> {
  const locked = await lockChunks(tx, sortedHashes(losses.map((loss) => loss.chunkHash)));
  return recordLossesOf(deps, tx, { losses, locked, ...terms });
}

/** The same for chunks that are locked already. */
export async function recordLossesOf(
  deps: Pick<Deps, "clock" | "outbox">,
  tx: Transaction,
  { losses, locked, ...terms }: LossTerms & { readonly losses: readonly Loss[]; readonly locked: readonly Chunk[] },
): Promise<readonly Loss[]> {
  const now = deps.clock.now();
  const chunks = new Map(locked.map((chunk) => [chunk.chunkHash, chunk]));
  const known = new Map((await readPairs(tx, losses)).map((pair) => [`${pair.nodeRowId}/${pair.chunkHash}`, pair]));
  const stateOf = (loss: Loss) => known.get(`${loss.nodeRowId}/${loss.chunkHash}`)?.replica?.state;
  const real = losses.filter((loss) => stateOf(loss) === "confirmed");
  if (!terms.mayReturn)
    await deleteReplicas(
      tx,
      losses.filter((loss) => stateOf(loss) === "lost"),
    );
  if (real.length === 0) return [];
  if (terms.mayReturn) await markReplicasLost(tx, real, now);
  else await deleteReplicas(tx, real);
  const availabilities = await changeHoldings(tx, holdingsWithout(real, chunks), now);
  const { after, events } = countDown(deps, real, chunks, { availabilities, cause: terms.cause });
  await saveProgress(tx, after, now);
  await saveHealth(
    tx,
    after.map(({ chunk, chunkHash, liveReplicas }) => ({
      chunkHash,
      liveReplicas,
      wantedReplicas: chunk.wantedReplicas,
      isStored: chunk.hasQuorum,
    })),
    now,
  );
  await deps.outbox.append(tx, events);
  return real;
}

interface After {
  readonly chunk: Chunk;
  readonly chunkHash: string;
  readonly confirmedReplicas: number;
  readonly liveReplicas: number;
  readonly eventVersion: bigint;
  readonly reachedQuorum: false;
}

function countDown(
  deps: Pick<Deps, "clock">,
  losses: readonly Loss[],
  chunks: ReadonlyMap<string, Chunk>,
  by: { readonly availabilities: Availabilities; readonly cause: ReplicaLossCause },
): { after: After[]; events: OutboxEvent[] } {
  const after = new Map<string, After>();
  const events: OutboxEvent[] = [];
  for (const { chunkHash, nodeRowId, nodeId } of losses) {
    const chunk = chunks.get(chunkHash);
    if (chunk === undefined) continue;
    const before = after.get(chunkHash) ?? chunk;
    const wasLive = countsAsLive(by.availabilities.get(nodeRowId), chunkHash);
    const numbers = {
      confirmedReplicas: before.confirmedReplicas - 1,
      liveReplicas: before.liveReplicas - (wasLive ? 1 : 0),
      eventVersion: before.eventVersion + 1n,
    };
    after.set(chunkHash, { chunk, chunkHash, ...numbers, reachedQuorum: false });
    events.push(chunkLost(deps.clock, chunk, numbers, { nodeId, cause: by.cause }));
  }
  return { after: [...after.values()], events };
}

function holdingsWithout(losses: readonly Loss[], chunks: ReadonlyMap<string, Chunk>) {
  const changes = collectHoldingChanges();
  for (const { chunkHash, nodeRowId } of losses) {
    const change = changes.of(nodeRowId);
    change.confirmedChunks -= 1n;
    change.confirmedBytes -= chunks.get(chunkHash)?.sizeBytes ?? 0n;
    change.digest += negated(digestTermOf(chunkHash));
  }
  return changes;
}
