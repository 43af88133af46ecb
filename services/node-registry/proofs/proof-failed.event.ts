import { NodeProofFailedSchema, ProofFailure } from "#gen/decentrastore/events/v1/events_pb.ts";
import { newEvent, type OutboxEvent } from "#platform/outbox/outbox.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { Challenge } from "./challenge.ts";
import type { ProofFailure as ProofFailureName } from "./consequence.ts";

const failures: Readonly<Record<ProofFailureName, ProofFailure>> = {
  not_held: ProofFailure.NOT_HELD,
  timed_out: ProofFailure.TIMED_OUT,
  invalid: ProofFailure.INVALID,
};

export function proofFailed(
  clock: Clock,
  challenge: Challenge,
  failure: ProofFailureName,
  keyVersion: bigint,
): OutboxEvent {
  const { nodeId, chunkHash, generation, commandId } = challenge;
  return newEvent(
    NodeProofFailedSchema,
    { subject: `decentrastore.node.proof_failed.${nodeId}`, key: nodeId, keyVersion, clock },
    { nodeId, chunkHash, generation, commandId, failure: failures[failure] },
  );
}
