import type { Counter, Gauge } from "prom-client";
import { runAsLeader } from "#platform/leadership/leadership.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import type { Deps } from "../deps.ts";
import { type BalanceProof, proveBalances } from "../ledger/balances.store.ts";
import { driftOf } from "./compare.ts";
import { compareUsage } from "./compare-usage.worker.ts";
import { sampleAccounts } from "./cut.store.ts";

export interface SamplerOptions {
  readonly intervalMs: number;
  readonly sampleSize: number;
  readonly signal: AbortSignal;
}

interface SamplerMetrics {
  readonly drift: Gauge<"kind">;
  readonly checked: Counter<"outcome">;
}

/**
 * Looks again and again at a few accounts, in one process at a time: do the counters agree with the ledger and the
 * reservations, and the ledger with node-registry? It corrects nothing; a difference is a defect somewhere, so it is an
 * error in the log and a metric whose target is 0. Never throws; ends with the signal.
 */
export async function startSampler(deps: Deps, options: SamplerOptions): Promise<void> {
  const { intervalMs, signal } = options;
  if (intervalMs === 0) return;
  const metrics = samplerMetrics(deps.metrics);
  await runAsLeader({
    pool: deps.pool,
    schema: "user_quota",
    name: "reconciler",
    clock: deps.clock,
    log: deps.log,
    signal,
    work: async (lease) => {
      while (lease.isHeld() && !lease.signal.aborted) {
        await deps.clock.sleep(intervalMs * (0.5 + Math.random()), lease.signal);
        if (!lease.signal.aborted) await sampleOnce(deps, options.sampleSize, metrics, lease.signal);
      }
    },
  });
}

/** One sample. Exported for tests and for whoever wants to check at once. */
export async function sampleOnce(
  deps: Deps,
  size: number,
  metrics = samplerMetrics(deps.metrics),
  signal?: AbortSignal,
): Promise<void> {
  const userIds = await sampleAccounts(deps.pool, size);
  const proofs = await proveBalances(deps.pool, userIds, signal);
  if (signal?.aborted === true) return;
  for (const kind of ["ledger", "reserved"] as const) {
    const drifts = proofs.map((proof) => ownDrift(kind, proof));
    metrics.drift.set(
      { kind },
      drifts.reduce((sum, drift) => sum + Math.abs(Number(drift)), 0),
    );
    for (const [index, proof] of proofs.entries()) {
      if (drifts[index] === 0n) continue;
      deps.log.error({ ...proof, kind }, "an account's counters do not agree with its entries");
    }
  }
  await compareSample(deps, proofs, metrics, signal);
}

async function compareSample(
  deps: Deps,
  proofs: readonly BalanceProof[],
  metrics: SamplerMetrics,
  signal?: AbortSignal,
): Promise<void> {
  let total = 0;
  for (const { userId } of proofs) {
    if (signal?.aborted === true) return;
    try {
      const verdict = await compareUsage(deps, userId, signal);
      metrics.checked.inc({ outcome: verdict?.kind ?? "undecided" });
      if (verdict?.kind !== "differs") continue;
      total += Math.abs(Number(driftOf(verdict.at)));
      deps.log.error({ ...verdict.at }, "the ledger does not agree with node-registry");
    } catch (error) {
      // Without the registry there is nothing to compare with; the next sample tries again.
      metrics.checked.inc({ outcome: "failed" });
      deps.log.warn({ err: error }, "could not compare usage with node-registry");
      return;
    }
  }
  metrics.drift.set({ kind: "registry" }, total);
}

/** A gap in the numbers of the entries counts as drift too, of one byte per entry. */
function ownDrift(kind: "ledger" | "reserved", proof: BalanceProof): bigint {
  if (kind === "reserved") return proof.reservedBytes - proof.heldBytes;
  const drift = proof.usedBytes - proof.ledgerBytes;
  return drift === 0n ? proof.lastEntryId - proof.entries : drift;
}

function samplerMetrics(metrics: Metrics): SamplerMetrics {
  return {
    drift: metrics.gauge({
      name: "quota_drift_bytes",
      help: "Difference found in the last sample: used against the ledger, reserved against reservations, ledger against node-registry. Target 0.",
      labels: ["kind"],
    }),
    checked: metrics.counter({
      name: "quota_accounts_compared_total",
      help: "Accounts compared with node-registry",
      labels: ["outcome"],
    }),
  };
}
