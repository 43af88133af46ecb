import type { Logger } from "#platform/log/logger.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import type { Journal } from "./posting.ts";

/** Counts what was posted, and alarms where an entry contradicts the history. To be called after the commit. */
export function createJournalReport(deps: { log: Logger; metrics: Metrics }): (journal: Journal) => void {
  const posted = deps.metrics.counter({
    name: "quota_ledger_entries_total",
    help: "Ledger entries posted",
    labels: ["kind"],
  });
  const anomalies = deps.metrics.counter({
    name: "quota_anomalies_total",
    help: "Ledger entries that contradict the account's history, such as a use below zero. Target 0.",
  });
  return ({ entries }) => {
    const counts = new Map<string, number>();
    for (const entry of entries) {
      counts.set(entry.kind, (counts.get(entry.kind) ?? 0) + 1);
      if (!entry.isAnomaly) continue;
      anomalies.inc();
      const { userId, entryId, kind, deltaBytes, usedAfterBytes } = entry;
      deps.log.error({ userId, entryId, kind, deltaBytes, usedAfterBytes }, "a ledger entry takes the use below zero");
    }
    for (const [kind, count] of counts) posted.inc({ kind }, count);
  };
}
