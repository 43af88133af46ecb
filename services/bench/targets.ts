export interface Target {
  /** The file that measures it, without `.bench.ts`. */
  readonly benchmark: string;
  readonly what: string;
  /** What it is held against, measured in the same run; a dash where the figure stands for itself. */
  readonly baseline: string;
  readonly limit: number;
  readonly direction: "at least" | "at most";
  readonly unit: "×" | "ms" | "s" | "/s" | "KB" | "";
}

/** A time or a rate that stands for itself depends on the machine; one against a baseline of the same run hardly does. */
export function isAbsolute({ baseline, unit }: Target): boolean {
  return baseline === "-" && ["ms", "s", "/s"].includes(unit);
}

/** Everything that is promised about speed and memory. A row without a measurement is reported as such. */
export const targets = {
  loginRate: {
    benchmark: "auth-login",
    what: "logins per second",
    baseline: "bare argon2 verifications at the same concurrency",
    ...atLeast(0.9, "×"),
  },
  loginBystander: {
    benchmark: "auth-login",
    what: "GetCurrentUser while logins saturate, p99",
    baseline: "-",
    ...atMost(50, "ms"),
  },
  guesses: {
    benchmark: "auth-guessing",
    what: "hashed guesses of 10,000 at once on one account, by what the waits allow",
    baseline: "waits that double",
    ...atMost(1, "×"),
  },
  refreshRate: {
    benchmark: "auth-refresh",
    what: "refreshes per second and core",
    baseline: "-",
    ...atLeast(600, "/s"),
  },
  verifyNew: {
    benchmark: "auth-verify",
    what: "offline verification of new tokens",
    baseline: "bare Ed25519 verification",
    ...atLeast(0.8, "×"),
  },
  verifySeen: {
    benchmark: "auth-verify",
    what: "offline verification of tokens seen before",
    baseline: "-",
    ...atLeast(20_000, "/s"),
  },
  authScale: {
    benchmark: "auth-scale",
    what: "login, refresh and ListUsers at 1,000,000 users, the slowest",
    baseline: "the same at 10,000 users",
    ...atMost(1.5, "×"),
  },
  revocation: {
    benchmark: "auth-revocation",
    what: "revocation to refusal at another service, p99",
    baseline: "-",
    ...atMost(1_000, "ms"),
  },
  loginTiming: {
    benchmark: "auth-timing",
    what: "distance of the answer times of known and unknown names",
    baseline: "the critical Kolmogorov-Smirnov distance",
    ...atMost(1, "×"),
  },
  consumeRate: {
    benchmark: "quota-consume",
    what: "chunk.stored from JetStream to committed ledger, 100,000 users",
    baseline: "-",
    ...atLeast(15_000, "/s"),
  },
  consumeHot: {
    benchmark: "quota-consume",
    what: "the same when one user owns them all",
    baseline: "100,000 users",
    ...atLeast(0.5, "×"),
  },
  reserveDistinct: {
    benchmark: "quota-reserve",
    what: "ReserveStorage for distinct users, rate",
    baseline: "bare SQL of the same work, same pool",
    ...atLeast(0.7, "×"),
  },
  reserveHot: {
    benchmark: "quota-reserve",
    what: "ReserveStorage for one user, time",
    baseline: "the same lock plus two updates",
    ...atMost(2, "×"),
  },
  quotaVisible: {
    benchmark: "quota-visible",
    what: "report to visible quota at 1,000 chunks per second, p99",
    baseline: "-",
    ...atMost(150, "ms"),
  },
  ledgerGetQuota: {
    benchmark: "quota-ledger",
    what: "GetQuota at 10 million ledger rows",
    baseline: "the same at 100,000",
    ...atMost(1.5, "×"),
  },
  ledgerList: {
    benchmark: "quota-ledger",
    what: "ListLedgerEntries at 10 million ledger rows",
    baseline: "the same at 100,000",
    ...atMost(1.5, "×"),
  },
  heartbeatStream: {
    benchmark: "heartbeat",
    what: "StreamHeartbeats, persisted and published, mutual TLS",
    baseline: "etcd LeaseKeepAlive stream, mutual TLS",
    ...atLeast(1.2, "×"),
  },
  heartbeatUnary: {
    benchmark: "heartbeat",
    what: "Heartbeat, unary",
    baseline: "bare grpc-js echo",
    ...atLeast(0.7, "×"),
  },
  connectedMemory: {
    benchmark: "connected-nodes",
    what: "registry memory per connected node, 10,000 nodes",
    baseline: "-",
    ...atMost(120, "KB"),
  },
  enrolledRate: {
    benchmark: "connected-nodes",
    what: "nodes enrolled with one join token (10,000 in a minute)",
    baseline: "-",
    ...atLeast(170, "/s"),
  },
  connectedReturn: {
    benchmark: "connected-nodes",
    what: "10,000 nodes reconnect at once, all served after",
    baseline: "-",
    ...atMost(60, "s"),
  },
  connectedOffline: {
    benchmark: "connected-nodes",
    what: "nodes called offline by that",
    baseline: "-",
    ...atMost(0, ""),
  },
  confirmThousand: {
    benchmark: "chunks-confirm",
    what: "confirmations, 1,000 per call",
    baseline: "bare SQL of the same rows",
    ...atLeast(0.5, "×"),
  },
  confirmOne: {
    benchmark: "chunks-report",
    what: "confirmations, one per call from many nodes",
    baseline: "bare unary echo over the same connections",
    ...atLeast(0.5, "×"),
  },
  placeThousand: {
    benchmark: "chunks-place",
    what: "PlaceChunks of 1,000 chunks x 3 with 100,000 nodes, time",
    baseline: "bare SQL of the same rows",
    ...atMost(2, "×"),
  },
  chunkScaleConfirm: {
    benchmark: "chunks-scale",
    what: "confirmation at 20 million chunk rows",
    baseline: "the same at 200,000",
    ...atMost(1.5, "×"),
  },
  chunkScaleLocate: {
    benchmark: "chunks-scale",
    what: "location at 20 million chunk rows",
    baseline: "the same at 200,000",
    ...atMost(1.5, "×"),
  },
  getNode: { benchmark: "directory", what: "GetNode with 100,000 nodes", baseline: "-", ...atMost(2, "ms") },
  listNodes: {
    benchmark: "directory",
    what: "ListNodes of 1,000 with 100,000 nodes",
    baseline: "-",
    ...atMost(12, "ms"),
  },
  merkle: {
    benchmark: "proofs",
    what: "Merkle answers verified per second and core",
    baseline: "-",
    ...atLeast(20_000, "/s"),
  },
  proofRate: {
    benchmark: "proofs",
    what: "proofs scheduled and recorded with 20 million replicas",
    baseline: "-",
    ...atLeast(2_000, "/s"),
  },
  proofHeartbeats: {
    benchmark: "proofs",
    what: "heartbeats beside 2,000 proofs per second",
    baseline: "heartbeats alone",
    ...atLeast(0.8, "×"),
  },
  importRate: {
    benchmark: "import-sqlite",
    what: "users imported from SQLite (1,000,000 in 5 minutes)",
    baseline: "-",
    ...atLeast(3_334, "/s"),
  },
  hostileLatency: {
    benchmark: "hostile",
    what: "honest clients' p99 while attacked",
    baseline: "p99 beside a spinner of the attackers' processor time",
    ...atMost(3, "×"),
  },
  hostileShared: {
    benchmark: "hostile",
    what: "the same, what sharing the processors costs included",
    baseline: "p99 without attack",
    ...atMost(3, "×"),
  },
  startUp: {
    benchmark: "start-up",
    what: "start of a service up to its first need of the database, the slowest",
    baseline: "-",
    ...atMost(1, "s"),
  },
} as const satisfies Readonly<Record<string, Target>>;

export type TargetName = keyof typeof targets;

function atLeast(limit: number, unit: Target["unit"]) {
  return { limit, unit, direction: "at least" } as const;
}

function atMost(limit: number, unit: Target["unit"]) {
  return { limit, unit, direction: "at most" } as const;
}
