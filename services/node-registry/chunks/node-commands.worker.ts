import type { Deps } from "../deps.ts";
import { type LoadedDeletions, nextToLoad } from "./deletion-turns.ts";
import { readDeletionsOfNodes } from "./deletions.store.ts";
import { type BusyNode, readDigests, writeDigestDifferences } from "./holdings.store.ts";
import type { NodeCommands } from "./node-commands.ts";

const MAX_DIGESTS_PER_ROUND = 5_000;
const MAX_HASHES_PER_COMMAND = 1_000;
// Hashes kept for commands in all: with more nodes at work each gets a smaller portion at a time.
const MAX_HASHES_KEPT = 500_000;
const MAX_NODES_PER_ROUND = 200;
// A digest that has been still for so long contains nothing that the node cannot know yet.
const SETTLED = Temporal.Duration.from({ seconds: 2 });

type CommandDeps = Pick<Deps, "pool" | "clock" | "view"> & { readonly commands: NodeCommands };

/** Compares the digests that came with heartbeats with the registry's running sums: one indexed query a round. */
export async function compareDigests(deps: CommandDeps): Promise<void> {
  const waiting = deps.commands.takeWaiting(MAX_DIGESTS_PER_ROUND);
  if (waiting.length === 0) return;
  const rowIds = new Map<string, bigint>();
  for (const { nodeId } of waiting) {
    const rowId = deps.view.node(nodeId)?.rowId;
    if (rowId !== undefined) rowIds.set(nodeId, rowId);
  }
  const now = deps.clock.now();
  const rows = await readDigests(deps.pool, [...rowIds.values()], now.subtract(SETTLED));
  const known = new Map(rows.map((row) => [row.node_id, row]));
  const differing: bigint[] = [];
  const agreeing: bigint[] = [];
  for (const { nodeId, digest } of waiting) {
    const rowId = rowIds.get(nodeId);
    if (rowId === undefined) continue;
    const row = known.get(rowId);
    const isEqual = BigInt(row?.digest ?? 0) === digest;
    const isSettled = row?.is_settled ?? true;
    const isKnownDifferent = row?.is_known_different ?? false;
    if (isEqual && isKnownDifferent) agreeing.push(rowId);
    if (!isEqual && isSettled && !isKnownDifferent) differing.push(rowId);
    deps.commands.compared(nodeId, digest, isEqual ? "equal" : isSettled ? "different" : "unsettled");
  }
  await writeDigestDifferences(deps.pool, { differing, agreeing, now });
}

/**
 * Reads the hashes to delete of nodes for which they have changed, a portion of the nodes a round. Those of the others
 * stand, as `busy` shows, which was read at `readAtMs`.
 */
export async function loadDeletions(
  deps: CommandDeps,
  { busy, readAtMs }: { readonly busy: readonly BusyNode[]; readonly readAtMs: number },
  loaded: LoadedDeletions,
): Promise<void> {
  const heard = new Map<bigint, { nodeId: string; change: string }>();
  for (const { node_id: rowId, pending_deletions: pending, deletion_changes: changes } of busy) {
    const nodeId = deps.view.nodeByRowId(rowId)?.nodeId;
    if (pending === 0n || nodeId === undefined || !deps.commands.isHeard(nodeId)) continue;
    // The number as well: a process of an earlier version does not count changes.
    const change = `${changes} ${pending}`;
    heard.set(rowId, { nodeId, change });
    if (loaded.get(rowId)?.change !== change) continue;
    // A node that was forgotten meanwhile and heard again has none to repeat.
    if (!deps.commands.deletionsStand(nodeId, readAtMs)) loaded.delete(rowId);
  }
  for (const rowId of loaded.keys()) {
    if (heard.has(rowId)) continue;
    loaded.delete(rowId);
    const nodeId = deps.view.nodeByRowId(rowId)?.nodeId;
    if (nodeId !== undefined) deps.commands.setDeletions(nodeId, []);
  }
  const due = nextToLoad(heard, loaded, MAX_NODES_PER_ROUND);
  if (due.length === 0) return;
  const portion = Math.max(16, Math.min(MAX_HASHES_PER_COMMAND, Math.floor(MAX_HASHES_KEPT / heard.size)));
  const pairs = await readDeletionsOfNodes(
    deps.pool,
    due.map(([rowId]) => rowId),
    portion,
  );
  const hashes = Map.groupBy(pairs, (pair) => pair.nodeRowId);
  for (const [rowId, { nodeId, change }] of due) {
    loaded.set(rowId, { change, atMs: readAtMs });
    deps.commands.setDeletions(
      nodeId,
      (hashes.get(rowId) ?? []).map((pair) => pair.chunkHash),
    );
    deps.commands.deletionsStand(nodeId, readAtMs);
  }
}
