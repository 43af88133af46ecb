import { duration, integer } from "#platform/config/types.ts";

export const repairConfigShape = {
  /** How long a node may be offline before its replicas count as lost. */
  REPAIR_OFFLINE_AFTER: duration({ min: 1_000, max: 365 * 86_400_000 }).default(3_600_000),
  /**
   * How long a client may take to send a chunk's further replicas after its quorum, or after their assignment if that is
   * later: until then repair leaves them to it, as long as the nodes are there. Longer ones cost superfluous copies only.
   */
  REPAIR_PENDING_GRACE: duration({ min: 0, max: 86_400_000 }).default(900_000),
  /** What a node gets to fetch a chunk; after it another one is chosen. */
  REPAIR_TIMEOUT: duration({ min: 1_000, max: 86_400_000 }).default(600_000),
  /** Until a chunk that could not be repaired is looked at again; doubled by each failure. */
  REPAIR_PAUSE: duration({ min: 100, max: 86_400_000 }).default(30_000),
  /** Repairs under way at one time, in all and of one node. */
  REPAIR_MAX_OPEN: integer({ min: 1, max: 100_000 }).default(1_000),
  REPAIR_NODE_BUDGET: integer({ min: 1, max: 8 }).default(4),
};

export interface RepairConfig {
  readonly REPAIR_OFFLINE_AFTER: number;
  readonly REPAIR_PENDING_GRACE: number;
  readonly REPAIR_TIMEOUT: number;
  readonly REPAIR_PAUSE: number;
  readonly REPAIR_MAX_OPEN: number;
  readonly REPAIR_NODE_BUDGET: number;
  readonly PROOF_FIRST_WITHIN: number;
}
