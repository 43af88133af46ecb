import type { OutboxEvent } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import type { Deps } from "../deps.ts";
import { type Availabilities, countsAsLive } from "./availability.ts";
import { digestTermOf } from "./chunk-digest.ts";
import { chunkConfirmed } from "./chunk-stored.event.ts";
import { lockChunks, saveProgress } from "./chunks.store.ts";
import { sortedHashes } from "./hashes.ts";
import { collectHoldingChanges } from "./holdings.store.ts";
import { confirmAssigned, confirmLost, readPairs } from "./replicas.store.ts";
import {
  type Confirmation,
  type DeletionCause,
  decideReports,
  type KnownReplica,
  type LockedChunk,
  pairKey,
  type StoredOutcome,
  type StoredReport,
} from "./report-outcomes.ts";
import { settleConfirmations } from "./settlement.store.ts";
import { saveHealth } from "./under-replicated.store.ts";
import { uploadCompleted } from "./upload-ended.event.ts";

/** A report with the name that its event gives the node. */
export interface NamedReport extends StoredReport {
  readonly nodeId: string;
}

/**
 * Records that nodes have stored chunks: confirmations, quorum, upload progress, running figures and events, all in this
 * transaction. Batches of any nodes and chunks may run at the same time: they queue on the chunks they share.
 */
export async function recordStored(
  deps: Pick<Deps, "clock" | "outbox">,
  tx: Transaction,
  reports: readonly NamedReport[],
): Promise<readonly StoredOutcome[]> {
  const now = deps.clock.now();
  const locked = await lockChunks(tx, sortedHashes(reports.map((report) => report.chunkHash)));
  const chunks = new Map(locked.map((chunk) => [chunk.chunkHash, chunk]));
  const { replicas, deletions } = await confirmAndRead(tx, reports, chunks, now);
  const { outcomes, confirmations } = decideReports(reports, { chunks, replicas, deletions });
  if (confirmations.length === 0) return outcomes;

  const reached = confirmations.filter((confirmation) => confirmation.reachedQuorum);
  await confirmLost(tx, confirmations.filter((confirmation) => confirmation.wasLost).map(toPair), now);
  const { availabilities, completed } = await settleConfirmations(
    tx,
    { reached: reached.map(({ chunk }) => chunk), holdings: holdingsOf(confirmations) },
    now,
  );
  const latest = latestOf(confirmations, availabilities);
  await saveProgress(tx, latest, now);
  await saveHealth(tx, healthOf(latest), now);
  const names = new Map(reports.map((report) => [report.nodeRowId, report.nodeId]));
  const events: OutboxEvent[] = confirmations.map((confirmation) =>
    chunkConfirmed(deps.clock, confirmation, names.get(confirmation.nodeRowId) ?? ""),
  );
  for (const upload of completed) events.push(uploadCompleted(deps.clock, upload));
  await deps.outbox.append(tx, events);
  return outcomes;
}

/**
 * Confirms what is assigned, without asking first: only a report of the right size can be meant. What is left (repeats,
 * strangers, replicas that are back) is read.
 */
async function confirmAndRead(
  tx: Transaction,
  reports: readonly NamedReport[],
  chunks: ReadonlyMap<string, LockedChunk>,
  now: Temporal.Instant,
) {
  const replicas = new Map<string, KnownReplica>();
  const deletions = new Map<string, DeletionCause>();
  const fitting = new Map<string, NamedReport>();
  for (const report of reports) {
    const chunk = chunks.get(report.chunkHash);
    const isRightSize = report.sizeBytes === undefined || report.sizeBytes === chunk?.sizeBytes;
    if (chunk !== undefined && isRightSize) fitting.set(pairKey(report.nodeRowId, report.chunkHash), report);
  }
  if (fitting.size > 0) {
    for (const replica of await confirmAssigned(tx, [...fitting.values()], now)) {
      replicas.set(pairKey(replica.nodeRowId, replica.chunkHash), replica);
    }
  }
  const rest = reports.filter((report) => !replicas.has(pairKey(report.nodeRowId, report.chunkHash)));
  for (const pair of await readPairs(tx, rest)) {
    const key = pairKey(pair.nodeRowId, pair.chunkHash);
    if (pair.replica !== undefined) replicas.set(key, pair.replica);
    if (pair.deletion !== undefined) deletions.set(key, pair.deletion);
  }
  return { replicas, deletions };
}

function holdingsOf(confirmations: readonly Confirmation[]) {
  const changes = collectHoldingChanges();
  for (const { chunk, nodeRowId, wasLost } of confirmations) {
    const change = changes.of(nodeRowId);
    change.confirmedChunks += 1n;
    change.confirmedBytes += chunk.sizeBytes;
    change.digest += digestTermOf(chunk.chunkHash);
    if (wasLost) continue;
    change.assignedChunks -= 1n;
    change.assignedBytes -= chunk.sizeBytes;
  }
  return changes;
}

interface Latest extends Confirmation {
  readonly chunkHash: string;
  readonly liveReplicas: number;
}

/** Where each chunk stands after the batch. */
function latestOf(confirmations: readonly Confirmation[], availabilities: Availabilities): Latest[] {
  const latest = new Map<string, Latest>();
  for (const confirmation of confirmations) {
    const { chunk, nodeRowId } = confirmation;
    const before = latest.get(chunk.chunkHash);
    const isLive = countsAsLive(availabilities.get(nodeRowId), chunk.chunkHash);
    latest.set(chunk.chunkHash, {
      ...confirmation,
      chunkHash: chunk.chunkHash,
      liveReplicas: (before?.liveReplicas ?? chunk.liveReplicas) + (isLive ? 1 : 0),
      reachedQuorum: confirmation.reachedQuorum || before?.reachedQuorum === true,
    });
  }
  return [...latest.values()];
}

/** Only chunks that are, or may have been, on the list: not those that come to all their replicas in one step. */
function healthOf(latest: readonly Latest[]) {
  return latest
    .filter(({ chunk, reachedQuorum, liveReplicas }) =>
      chunk.hasQuorum
        ? chunk.liveReplicas < chunk.wantedReplicas
        : reachedQuorum && liveReplicas < chunk.wantedReplicas,
    )
    .map(({ chunk, chunkHash, liveReplicas }) => ({
      chunkHash,
      liveReplicas,
      wantedReplicas: chunk.wantedReplicas,
      isStored: true,
    }));
}

function toPair({ chunk, nodeRowId }: Confirmation) {
  return { chunkHash: chunk.chunkHash, nodeRowId };
}
