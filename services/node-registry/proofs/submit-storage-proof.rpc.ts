import { Code, type MethodImpl } from "@connectrpc/connect";
import type { NodeService, SubmitStorageProofRequest } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { type Check, validate } from "#platform/rpc/validate.ts";
import { callingNode } from "../directory/calling-node.worker.ts";
import { registryError } from "../errors.ts";
import { type Challenge, judgeAnswer, MAX_WHOLE_CHUNK_BYTES, type Outcome, type ProofAnswer } from "./challenge.ts";
import { findChallenge } from "./challenges.store.ts";
import { LEAF_BYTES } from "./merkle.ts";
import type { ProofDeps } from "./proof-deps.ts";

const HASH_BYTES = 32;
const MAX_PATH = 16;

export function submitStorageProof(deps: ProofDeps): MethodImpl<typeof NodeService.method.submitStorageProof> {
  return async (request, context) => {
    const node = await callingNode(deps, context);
    validate((check) => checkProof(check, request));
    // A UUID may be written in capitals; the board and the verdicts know it by its usual form.
    const commandId = request.commandId.toLowerCase();
    const verdict = await verdictOn(deps, node.rowId, { ...request, commandId });
    const [settlement] = await deps.settle([{ commandId, nodeRowId: node.rowId, verdict }]);
    if (settlement === "timed_out") {
      throw registryError(Code.FailedPrecondition, "COMMAND_EXPIRED", "the time to answer this command has passed");
    }
    if (settlement === undefined || settlement === "unknown") {
      throw registryError(Code.NotFound, "COMMAND_NOT_FOUND", "no such command is waiting for this node");
    }
    return { isAccepted: settlement === "proved" };
  };
}

/** Undefined where there is no such challenge, or not any more: an earlier verdict may still answer. */
async function verdictOn(
  deps: ProofDeps,
  nodeRowId: bigint,
  request: SubmitStorageProofRequest,
): Promise<{ challenge: Challenge; outcome: Outcome } | undefined> {
  const challenge = deps.board.find(request.commandId) ?? (await findChallenge(deps.pool, request.commandId));
  if (challenge?.nodeRowId !== nodeRowId) return undefined;
  const outcome = judgeAnswer(challenge, toAnswer(request));
  if (outcome.kind === "invalid") {
    const { nodeId, chunkHash, commandId } = challenge;
    deps.log.info({ nodeId, chunkHash, commandId, reason: outcome.reason }, "a storage proof is invalid");
  }
  return { challenge, outcome };
}

function toAnswer({ chunkHash, nonce, proof }: SubmitStorageProofRequest): ProofAnswer {
  if (proof.case === "merkleProof") return { chunkHash, nonce, proof: { kind: "leaf", leafProof: proof.value } };
  if (proof.case === "chunk") return { chunkHash, nonce, proof: { kind: "chunk", chunk: proof.value } };
  return { chunkHash, nonce, proof: { kind: "none" } };
}

function checkProof(check: Check, { commandId, chunkHash, nonce, proof }: SubmitStorageProofRequest): void {
  check.uuid("command_id", commandId);
  check.hash("chunk_hash", chunkHash);
  if (nonce.length !== HASH_BYTES) check.fail("nonce", `must have ${HASH_BYTES} bytes`);
  if (proof.case === "chunk") {
    checkSize(check, "chunk", proof.value, MAX_WHOLE_CHUNK_BYTES);
  } else if (proof.case === "merkleProof") {
    checkSize(check, "merkle_proof.leaf", proof.value.leaf, LEAF_BYTES);
    check.count("merkle_proof.path", proof.value.path, { max: MAX_PATH });
    // What is beyond the limit is refused anyway: looking at it would be work for nothing.
    for (const [index, hash] of proof.value.path.slice(0, MAX_PATH).entries()) {
      if (hash.length !== HASH_BYTES) check.fail(`merkle_proof.path[${index}]`, `must have ${HASH_BYTES} bytes`);
    }
  }
}

function checkSize(check: Check, field: string, { length }: Uint8Array, max: number): void {
  if (length < 1 || length > max) check.fail(field, `must have 1 to ${max.toLocaleString("en-US")} bytes`);
}
