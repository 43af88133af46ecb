import type { ServiceImpl } from "@connectrpc/connect";
import type { NodeCommand } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import type { NodeDirectoryService } from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import type { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import type { ChunkHooks, Deps } from "./deps.ts";
import { createBoard } from "./proofs/board.ts";
import type { ProofDeps } from "./proofs/proof-deps.ts";
import { createReception } from "./proofs/reception.ts";
import { recordReportedLosses } from "./proofs/record-reported.worker.ts";
import { runScheduler, TICK_MS } from "./proofs/scheduler.worker.ts";
import { createSettling } from "./proofs/settling.worker.ts";
import { submitStorageProof } from "./proofs/submit-storage-proof.rpc.ts";
import { runSuccessCounter } from "./proofs/success-counter.worker.ts";
import { type ReputationRules, reputationRules } from "./reputation/reputation-config.ts";
import { resetReputation } from "./reputation/reset-reputation.rpc.ts";
import { type Scorer, startScorer } from "./reputation/scorer.worker.ts";

/** What the rooms of proofs and reputation bring to the service. */
export interface ProofRooms {
  readonly proofs: ProofDeps;
  readonly rules: ReputationRules;
  readonly nodeRpcs: Pick<ServiceImpl<typeof NodeService>, "submitStorageProof">;
  readonly directoryRpcs: Pick<ServiceImpl<typeof NodeDirectoryService>, "resetReputation">;
  /** Called for every heartbeat, so it looks only into memory. */
  commandsFor(nodeId: string, limit: number): readonly NodeCommand[];
  readonly onLossReported: NonNullable<ChunkHooks["onLossReported"]>;
  startWorkers(signal: AbortSignal): AsyncDisposable;
}

export function createProofRooms(deps: Deps): ProofRooms {
  const { config, clock } = deps;
  const rules = reputationRules(config);
  const reception = createReception(clock, TICK_MS);
  const board = createBoard({
    clock,
    reception,
    rules: {
      windowMs: config.PROOF_ANSWER_WINDOW,
      maxGapMs: config.NODE_LEASE_TTL / 2,
      maxOpenPerNode: config.PROOF_NODE_BUDGET,
    },
  });
  const pace = {
    intervalMs: config.PROOF_INTERVAL,
    retryMs: config.PROOF_RETRY_DELAY,
    firstWithinMs: config.PROOF_FIRST_WITHIN,
  };
  const scoring: { scorer: Scorer | undefined } = { scorer: undefined };
  const scoreSoon = () => scoring.scorer?.wake();
  const base = { ...deps, leaseTtlMs: config.NODE_LEASE_TTL, pace, board, reception };
  const proofs: ProofDeps = { ...base, settle: createSettling(base, scoreSoon) };
  deps.metrics.gauge(
    { name: "open_challenges", help: "Storage proofs that nodes of this process still owe, or may." },
    (gauge) => gauge.set(board.openCount()),
  );
  return {
    proofs,
    rules,
    onLossReported: (tx, losses) => recordReportedLosses(deps, tx, losses),
    nodeRpcs: { submitStorageProof: submitStorageProof(proofs) },
    directoryRpcs: { resetReputation: resetReputation({ ...deps, rules }) },
    commandsFor: (nodeId, limit) => {
      const node = deps.view.node(nodeId);
      if (node === undefined) return [];
      // Announced: what it was asked for before waits until it is back, and so does its window.
      return board.commandsFor(node.rowId, node.state === "maintenance" ? 0 : limit);
    },
    startWorkers: (signal) => {
      const stop = new AbortController();
      const ending = AbortSignal.any([signal, stop.signal]);
      const scorer = startScorer({ ...deps, rules });
      scoring.scorer = scorer;
      const running = [
        runScheduler(proofs, ending),
        runSuccessCounter({ ...deps, retentionMs: config.PROOF_VERDICT_RETENTION }, scoreSoon, ending),
      ];
      return {
        [Symbol.asyncDispose]: async () => {
          stop.abort();
          await Promise.all(running);
          await scorer[Symbol.asyncDispose]();
        },
      };
    },
  };
}
