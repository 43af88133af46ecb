import { transact } from "#platform/outbox/outbox.ts";
import { lockChunks } from "../chunks/chunks.store.ts";
import { findNodes } from "../chunks/endpoints.store.ts";
import { readBusyNodes } from "../chunks/holdings.store.ts";
import { oneByOne } from "../chunks/one-by-one.worker.ts";
import { exchangeAssignments, readAwaitedOfNode, readReplacedNodesOf } from "./exchange.store.ts";
import type { PlacementDeps } from "./place-chunks.rpc.ts";

const BATCH = 200;

/** Nodes that had nothing to exchange, or nowhere to exchange it to, by storage_nodes.id: not looked at before then. */
export type ExchangePauses = Map<bigint, { readonly untilMs: number; readonly pauseMs: number }>;

const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 600_000;

/**
 * Gives the unconfirmed assignments of nodes that are gone to others, as long as an upload waits for them: clients learn
 * of it by repeating PlaceChunks. What finds no other node stays, and is tried again, ever more rarely: each try reads
 * through what the node holds.
 */
export async function exchangeForGoneNodes(
  deps: PlacementDeps,
  pauses: ExchangePauses = new Map(),
  signal?: AbortSignal,
): Promise<number> {
  let exchanged = 0;
  const nowMs = deps.clock.monotonicMs();
  const assigned = (await readBusyNodes(deps.pool)).filter((row) => row.assigned_bytes > 0n);
  const busy = new Set(assigned.map((row) => row.node_id));
  for (const rowId of pauses.keys()) if (!busy.has(rowId)) pauses.delete(rowId);
  // One that the view does not have left long ago, or came a moment ago and is known to another process only.
  const nodes = await findNodes(deps, busy);
  const work = async (rowId: bigint) => {
    const node = nodes.get(rowId);
    const isGone = node === undefined || node.liveness === "offline" || GONE_STATES.has(node.state);
    if (!isGone) {
      pauses.delete(rowId);
      return;
    }
    const pause = pauses.get(rowId);
    if (pause !== undefined && nowMs < pause.untilMs) return;
    const count = await exchangeNode(deps, rowId, signal);
    exchanged += count;
    const pauseMs = count > 0 ? FIRST_PAUSE_MS : Math.min(LONGEST_PAUSE_MS, 2 * (pause?.pauseMs ?? FIRST_PAUSE_MS));
    pauses.set(rowId, { untilMs: nowMs + pauseMs, pauseMs });
  };
  await oneByOne(deps, busy, work, { signal });
  return exchanged;
}

const GONE_STATES: ReadonlySet<string> = new Set(["disqualified", "deregistered"]);

async function exchangeNode(deps: PlacementDeps, nodeRowId: bigint, signal: AbortSignal | undefined): Promise<number> {
  let exchanged = 0;
  for (let after = ""; !signal?.aborted; ) {
    const hashes = await readAwaitedOfNode(deps.pool, nodeRowId, after, BATCH);
    const last = hashes.at(-1);
    if (last === undefined) return exchanged;
    after = last;
    const exchange = await transact(deps, async (tx) =>
      exchangeAssignments(
        tx,
        await lockChunks(tx, hashes),
        hashes.map((chunkHash) => ({ chunkHash, nodeRowId })),
        {
          now: deps.clock.now(),
          firstProofWithinMs: deps.config.PROOF_FIRST_WITHIN,
          barred: await readReplacedNodesOf(tx, hashes),
          isOptional: true,
          place: deps.placer.place,
        },
      ),
    );
    for (const made of exchange?.made ?? []) deps.placer.assigned(made.nodeRowId, Number(made.sizeBytes));
    exchanged += exchange?.made.length ?? 0;
  }
  return exchanged;
}
