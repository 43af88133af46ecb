import type { Logger } from "#platform/log/logger.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import type { Outbox } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { NodeTable } from "../directory/node-table.ts";
import type { Board } from "./board.ts";
import type { ProofConfig } from "./proof-config.ts";
import type { Reception } from "./reception.ts";
import type { Decision, Settlement } from "./record-outcomes.worker.ts";
import type { ProofPace } from "./schedule.ts";

/** What the proof room's RPC and workers share. */
export interface ProofDeps {
  readonly pool: Pool;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly view: NodeTable;
  readonly config: ProofConfig;
  readonly leaseTtlMs: number;
  readonly pace: ProofPace;
  readonly board: Board;
  readonly reception: Reception;
  /** Settles challenges together with those of other callers; resolves after the commit. */
  readonly settle: (decisions: readonly Decision[]) => Promise<readonly Settlement[]>;
}
