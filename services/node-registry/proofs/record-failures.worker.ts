import { ReplicaLossCause } from "#gen/decentrastore/node_registry/v1/chunk_pb.ts";
import type { Outbox } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { Chunk } from "../chunks/chunks.store.ts";
import { recordLossesOf } from "../chunks/record-losses.worker.ts";
import { type Pair, readPairs } from "../chunks/replicas.store.ts";
import { pairKey } from "../chunks/report-outcomes.ts";
import { addEvidence } from "../reputation/evidence.store.ts";
import type { EvidenceKind } from "../reputation/formula.ts";
import type { Challenge } from "./challenge.ts";
import type { ProofFailure } from "./consequence.ts";
import { proofFailed } from "./proof-failed.event.ts";
import { raiseEventVersions } from "./proof-failed.store.ts";

export interface FinalFailure {
  readonly challenge: Challenge;
  readonly failure: ProofFailure;
  /** Its replica was found gone: counts only if the node itself reported that. */
  readonly isGone: boolean;
}

const kinds: Readonly<Record<ProofFailure, EvidenceKind>> = {
  not_held: "proof_failed",
  timed_out: "proof_timed_out",
  invalid: "proof_invalid",
};

interface RecordDeps {
  readonly clock: Clock;
  readonly outbox: Outbox;
}

/**
 * Failures that count: the replicas are lost, the reputation falls, node.proof_failed and chunk.lost tell of it. A chunk
 * that was released or placed anew meanwhile proves nothing against the node; one that the node has reported lost while
 * it was asked for counts as its own word. Answers what really counted. The chunks must be locked.
 */
export async function recordFailures(
  deps: RecordDeps,
  tx: Transaction,
  failures: readonly FinalFailure[],
  locked: readonly Chunk[],
): Promise<readonly FinalFailure[]> {
  if (failures.length === 0) return [];
  const chunks = new Map(locked.map((chunk) => [chunk.chunkHash, chunk]));
  const current = failures.filter(({ challenge }) => {
    const chunk = chunks.get(challenge.chunkHash);
    return chunk !== undefined && !chunk.isReleased && chunk.generation === challenge.generation;
  });
  const reported = await reportedByNode(tx, current);
  const held = current.filter((failure) => !failure.isGone && !reported.has(failure.challenge.commandId));
  const lost = await recordLossesOf(deps, tx, {
    losses: held.map(({ challenge }) => challenge),
    locked,
    cause: ReplicaLossCause.PROOF_FAILED,
    mayReturn: false,
  });
  const isLost = new Set(lost.map(keyOf));
  const counted = current.flatMap((failure): FinalFailure[] => {
    if (reported.has(failure.challenge.commandId)) return [{ ...failure, failure: "not_held" }];
    return isLost.has(keyOf(failure.challenge)) ? [failure] : [];
  });
  await tellOf(deps, tx, counted);
  return counted;
}

/** Challenges whose replica has gone without being released: only the node's own report takes it away so. */
async function reportedByNode(tx: Transaction, failures: readonly FinalFailure[]): Promise<ReadonlySet<string>> {
  const pairs = await readPairs(
    tx,
    failures.map(({ challenge }) => challenge),
  );
  const gone = new Set(pairs.filter((pair) => pair.replica === undefined).map(keyOf));
  const reported = failures.filter(({ challenge }) => gone.has(keyOf(challenge)));
  return new Set(reported.map(({ challenge }) => challenge.commandId));
}

function keyOf(pair: Pair): string {
  return pairKey(pair.nodeRowId, pair.chunkHash);
}

async function tellOf(deps: RecordDeps, tx: Transaction, counted: readonly FinalFailure[]): Promise<void> {
  if (counted.length === 0) return;
  const now = deps.clock.now();
  await addEvidence(
    tx,
    counted.map(({ challenge, failure }) => ({
      nodeRowId: challenge.nodeRowId,
      kind: kinds[failure],
      count: 1,
      occurredAt: now,
      chunkHash: challenge.chunkHash,
      commandId: challenge.commandId,
    })),
  );
  const byNode = Map.groupBy(counted, ({ challenge }) => challenge.nodeRowId);
  const versions = await raiseEventVersions(
    tx,
    new Map([...byNode].map(([nodeRowId, failures]) => [nodeRowId, failures.length])),
  );
  const events = [...byNode].flatMap(([nodeRowId, failures]) => {
    const first = (versions.get(nodeRowId) ?? 0n) - BigInt(failures.length) + 1n;
    return failures.map(({ challenge, failure }, index) =>
      proofFailed(deps.clock, challenge, failure, first + BigInt(index)),
    );
  });
  await deps.outbox.append(tx, events);
}
