import type { Deps } from "../deps.ts";
import type { PlacementCandidate } from "../directory/network-view.ts";
import { lockAvailability, readAvailabilities, saveWalk, turnAvailability } from "./availability.store.ts";
import { lockChunks, saveLiveReplicas } from "./chunks.store.ts";
import { findNodes } from "./endpoints.store.ts";
import { oneByOne } from "./one-by-one.worker.ts";
import { readReplicasOfNode } from "./replicas.store.ts";
import { saveHealth } from "./under-replicated.store.ts";

type WalkDeps = Pick<Deps, "pool" | "clock" | "view" | "log">;
const BATCH = 500;
const END = "f".repeat(64);

/** Nodes that can serve what they hold. Announced maintenance is no loss, however silent the node is meanwhile. */
export function isThere(node: PlacementCandidate | undefined): boolean {
  if (node === undefined || node.state === "disqualified" || node.state === "deregistered") return false;
  return node.state === "maintenance" || node.liveness === "online" || node.liveness === "suspect";
}

/**
 * Makes chunks.live_replicas follow the nodes that came or went: for the given nodes, or for all. A walk that a crash or
 * the signal cut off goes on where it was; it costs a batch of locks at a time, so that reports are hardly held up.
 */
export async function followAvailability(
  deps: WalkDeps,
  rowIds?: readonly bigint[],
  signal?: AbortSignal,
): Promise<number> {
  let walked = 0;
  const held = await readAvailabilities(deps.pool, rowIds);
  // One that the view does not have left long ago, or came a moment ago and is known to another process only.
  const unknown = held.filter(({ rowId }) => deps.view.nodeByRowId(rowId) === undefined);
  const found = await findNodes(
    deps,
    unknown.map(({ rowId }) => rowId),
  );
  const follow = async ({ rowId, isAvailable, walkedTo }: (typeof held)[number]) => {
    // A walk that is under way ends first; where it went the wrong way meanwhile the next one turns back.
    if (walkedTo !== null) await walk(deps, rowId, signal);
    const shouldBe = isThere(deps.view.nodeByRowId(rowId) ?? found.get(rowId));
    if (isAvailable === shouldBe) return;
    walked += 1;
    if (await turnAvailability(deps.pool, rowId, shouldBe)) await walk(deps, rowId, signal);
  };
  await oneByOne(deps, held, follow, { nameOf: ({ rowId }) => String(rowId), signal });
  return walked;
}

// Everything is compared now and then, for changes that were missed while nobody led.
const COMPARE_ALL_MS = 60_000;

/** Rounds over the nodes that have changed since the last one, which are taken from `changed`, and from time to time over all. */
export function createAvailabilityRounds(
  deps: WalkDeps,
  changed: Set<bigint>,
): (signal?: AbortSignal) => Promise<void> {
  let comparedAtMs = Number.NEGATIVE_INFINITY;
  return async (signal) => {
    const startedAtMs = deps.clock.monotonicMs();
    const isDue = startedAtMs - comparedAtMs >= COMPARE_ALL_MS;
    const rowIds = [...changed];
    changed.clear();
    if (!isDue && rowIds.length === 0) return;
    try {
      await followAvailability(deps, isDue ? undefined : rowIds, signal);
      if (isDue) comparedAtMs = startedAtMs;
    } catch (error) {
      // The database was away: they are followed as soon as it is back.
      for (const rowId of rowIds) changed.add(rowId);
      throw error;
    }
  };
}

/** A node may hold millions: whoever stops the process does not wait for them. */
async function walk(deps: WalkDeps, rowId: bigint, signal: AbortSignal | undefined): Promise<void> {
  while (!signal?.aborted && (await walkBatch(deps, rowId)));
}

/** The next chunks of the node, in one transaction; false when the walk has ended. */
async function walkBatch(deps: WalkDeps, rowId: bigint): Promise<boolean> {
  return deps.pool.transaction(async (tx) => {
    const [start] = await readAvailabilities(tx, [rowId]);
    if (start === undefined || start.walkedTo === null) return false;
    const range = { after: start.walkedTo, through: END, limit: BATCH };
    const ahead = await readReplicasOfNode(tx, rowId, range);
    const through = ahead.length < BATCH ? END : (ahead.at(-1)?.chunkHash ?? END);
    const locked = await lockChunks(
      tx,
      ahead.map((replica) => replica.chunkHash),
    );
    const current = await lockAvailability(tx, rowId);
    if (current?.walkedTo !== start.walkedTo) return true;
    // What came into the range since the first look is not locked, and may have been counted by the old value.
    const replicas = await readReplicasOfNode(tx, rowId, { ...range, through, limit: BATCH + 1 });
    const chunks = new Map(locked.map((chunk) => [chunk.chunkHash, chunk]));
    if (replicas.some((replica) => !chunks.has(replica.chunkHash))) return true;
    const step = current.isAvailable ? 1 : -1;
    const changed = replicas.flatMap(({ chunkHash, state }) => {
      const chunk = state === "confirmed" ? chunks.get(chunkHash) : undefined;
      return chunk === undefined ? [] : [{ ...chunk, liveReplicas: chunk.liveReplicas + step }];
    });
    await saveLiveReplicas(tx, changed);
    await saveHealth(
      tx,
      changed.map((chunk) => ({ ...chunk, isStored: chunk.hasQuorum && !chunk.isReleased })),
      deps.clock.now(),
    );
    await saveWalk(tx, rowId, through === END ? null : through);
    return through !== END;
  });
}
