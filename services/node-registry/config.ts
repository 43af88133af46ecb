import { ConfigError, loadConfig } from "#platform/config/load-config.ts";
import { serviceConfigShape } from "#platform/config/service-config.ts";
import { duration, flag, integer, port, stringList } from "#platform/config/types.ts";
import { proofConfigShape } from "./proofs/proof-config.ts";
import { repairConfigShape } from "./repair/repair-config.ts";
import { reputationConfigShape, reputationRules } from "./reputation/reputation-config.ts";

const shape = {
  ...serviceConfigShape("node-registry"),
  NODE_EDGE_PORT: port().default(7443),
  /** Names and addresses of the server certificate besides localhost, 127.0.0.1 and ::1. */
  NODE_EDGE_NAMES: stringList().default([]),
  NODE_HEARTBEAT_INTERVAL: duration({ min: 100, max: 3_600_000 }).default(15_000),
  NODE_LEASE_TTL: duration({ min: 1_000, max: 86_400_000 }).default(60_000),
  /** Heartbeats that come faster are answered and folded; 0 switches this and the limit of 50 per second off. */
  NODE_HEARTBEAT_MIN_INTERVAL: duration({ max: 60_000 }).default(1_000),
  /** Open heartbeat streams of one node; a newer one supersedes the older anyway, this bounds the overlap. */
  NODE_MAX_STREAMS: integer({ min: 1, max: 100 }).default(4),
  NODE_ALLOW_PRIVATE_ADDRESSES: flag().default(false),
  /** How long a new node counts as new: placement gives such nodes a small share. */
  NODE_PROBATION_PERIOD: duration().default(24 * 3_600_000),
  NODE_CERTIFICATE_TTL: duration({ min: 60_000, max: 365 * 86_400_000 }).default(30 * 86_400_000),
  ...proofConfigShape,
  ...reputationConfigShape,
  ...repairConfigShape,
};

export type NodeRegistryConfig = ReturnType<typeof loadNodeRegistryConfig>;

/** With the jitter of a tenth still less than the half lease at which a node is suspect. */
const MAX_INTERVAL_PER_LEASE = 0.4;

/** The only reader of the environment in this service. */
export function loadNodeRegistryConfig(env = process.env) {
  const config = loadConfig(shape, env);
  const { probationBelow, disqualifyBelow } = reputationRules(config).thresholds;
  if (disqualifyBelow > probationBelow) {
    throw new ConfigError([
      `REPUTATION_DISQUALIFY_BELOW (${disqualifyBelow}) must not be above REPUTATION_PROBATION_BELOW (${probationBelow}); ` +
        `where one is not set it is the one of ${config.REPUTATION_FORMULA}`,
    ]);
  }
  // A node that comes when it is told to must never be called silent, whichever of the two was set.
  const longestMs = Math.floor(config.NODE_LEASE_TTL * MAX_INTERVAL_PER_LEASE);
  return { ...config, NODE_HEARTBEAT_INTERVAL: Math.min(config.NODE_HEARTBEAT_INTERVAL, longestMs) };
}
