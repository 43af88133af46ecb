import { type History, newHistory, type SeenEvent, type UploadRecord, type UserRecord } from "../history.ts";
import type { Observed, OutboxRow } from "../observed.ts";
import { judge } from "./judge.ts";

/** A small run in which everything held, for tests to spoil one thing of it. */
export interface SoundRun {
  readonly history: History;
  readonly observed: Observed;
}

export const LEASE_MS = 12_000;
export const NODES = ["n1", "n2", "n3", "n4"] as const;

/** One user, two uploads of one chunk each (the second released), three nodes that beat, one that was cut off and one that came. */
export function soundRun(): SoundRun {
  const user: UserRecord = {
    username: "chaos-1",
    actor: 0,
    userId: "u1",
    registered: "acknowledged",
    passwords: ["secret"],
    quotaBytes: 1_000n,
    deactivation: undefined,
    deletion: undefined,
    mistakes: 0,
    tokens: undefined,
    isLimitMoving: false,
  };
  const uploads = [uploadOf(user, "1", undefined), uploadOf(user, "2", "acknowledged")];
  const history: History = {
    ...newHistory(),
    users: [user],
    uploads,
    reported: new Set(["n1 c1", "n2 c1", "n1 c2", "n2 c2"]),
    confirmed: new Set(["n1 c1", "n2 c1", "n1 c2", "n2 c2"]),
    held: new Set(["n1 c1", "n2 c1"]),
    located: new Map([["c1", ["n2", "n1"]]]),
    beats: NODES.slice(0, 3).flatMap((nodeId) =>
      Array.from({ length: 100 }, (_, second) => ({
        nodeId,
        sentAtMs: second * 1_000,
        answeredAtMs: second * 1_000 + 5,
      })),
    ),
    joined: ["n0"],
    nodeStates: [{ nodeId: "n1", state: "in_service", answer: "acknowledged" }],
    failedLogins: [
      { kind: "unknown name", answer: "Unauthenticated INVALID_CREDENTIALS no" },
      { kind: "wrong password", answer: "Unauthenticated INVALID_CREDENTIALS no" },
    ],
    finalLogins: new Map([["chaos-1", true]]),
    limits: [{ userId: "u1", bytes: 1_000n, answer: "acknowledged", tries: 1 }],
    revocations: [{ userId: "u1", answer: "acknowledged" }],
    stops: [{ process: "auth", fromMs: 0, tookMs: 300, end: "exit code 0" }],
  };
  const outbox = outboxOf([
    ["auth", "UserRegistered", "u1"],
    ["node_registry", "ChunkStored", "c1"],
    ["node_registry", "ChunkStored", "c1"],
    ["node_registry", "UploadCompleted", "up1"],
    ["node_registry", "ChunkStored", "c2"],
    ["node_registry", "ChunkStored", "c2"],
    ["node_registry", "UploadCompleted", "up2"],
    ["node_registry", "ChunkReleased", "c2"],
    ["auth", "UserSessionsRevoked", "u1"],
    ["node_registry", "NodeRegistered", "n0"],
    ["node_registry", "NodeOnline", "n0"],
  ]);
  history.seen.push(...outbox.map(seen));
  return { history, observed: { ...restOf(), outbox } };
}

function restOf(): Omit<Observed, "outbox"> {
  const ledger = (chunkHash: string, kind: string, delta: bigint) => ({
    userId: "u1",
    chunkHash,
    generation: 1,
    kind,
    delta,
  });
  const chunk = { ownerId: "u1", sizeBytes: 100n, generation: 1, hasQuorum: true };
  return {
    users: [{ userId: "u1", username: "chaos-1", isActive: true }],
    accounts: [{ userId: "u1", used: 100n, reserved: 0n, limit: 1_000n, ledgerSum: 100n }],
    ledger: [ledger("c1", "charge", 100n), ledger("c2", "charge", 100n), ledger("c2", "refund", -100n)],
    balances: [
      { userId: "u1", kind: "quota_change", used: 0n, limit: 1_000n },
      { userId: "u1", kind: "charge", used: 100n, limit: 1_000n },
      { userId: "u1", kind: "charge", used: 200n, limit: 1_000n },
      { userId: "u1", kind: "refund", used: 100n, limit: 1_000n },
    ],
    openReservations: [],
    misposted: [],
    told: {
      lost: [],
      thresholds: [],
      stored: [stored("c1", "n1"), stored("c1", "n2"), stored("c2", "n1"), stored("c2", "n2")],
    },
    adjustments: 0,
    chunks: [
      { ...chunk, chunkHash: "c1", isReleased: false },
      { ...chunk, chunkHash: "c2", isReleased: true },
    ],
    usage: [{ userId: "u1", bytes: 100n }],
    replicas: new Set(["n1 c1", "n2 c1"]),
    punishments: [],
    uploads: new Map([
      ["up1", "completed"],
      ["up2", "completed"],
    ]),
    nodeStates: new Map([["n1", "in_service"]]),
    liveness: new Map([["n0", "online"]]),
    deadLetters: 0,
    residentMiB: new Map([["auth", 150]]),
    crashes: [],
  };
}

function stored(chunkHash: string, nodeId: string): Observed["told"]["stored"][number] {
  const [confirmedReplicas, reachedQuorum] = nodeId === "n2" ? [2, true] : [1, false];
  return { chunkHash, generation: 1, nodeId, reachedQuorum, confirmedReplicas, wantedReplicas: 2 };
}

function uploadOf(user: UserRecord, name: string, release: UploadRecord["release"]): UploadRecord {
  return {
    uploadId: `up${name}`,
    user,
    userId: "u1",
    chunks: [{ chunkHash: `c${name}`, sizeBytes: 100n, blockIndex: 0, pattern: "00", proofRoot: undefined }],
    replicas: 2,
    placed: "acknowledged",
    release,
    heir: undefined,
    isReported: true,
  };
}

/** Events in the order of their commits, versions counted by key. */
export function outboxOf(events: readonly (readonly [schema: string, type: string, key: string])[]): OutboxRow[] {
  const versions = new Map<string, number>();
  return events.map(([schema, type, key], index) => {
    const keyVersion = (versions.get(key) ?? 0) + 1;
    versions.set(key, keyVersion);
    return {
      schema,
      id: index + 1,
      eventId: `e${index + 1}`,
      key,
      keyVersion,
      type: `decentrastore.events.v1.${type}`,
      subject: `decentrastore.${type}.${key}`,
      createdAtMs: 50_000,
      isPublished: true,
    };
  });
}

export function seen({ eventId, key, keyVersion, subject }: OutboxRow): SeenEvent {
  return { stream: subject.includes("User") ? "USERS" : "CHUNKS", eventId, key, keyVersion, subject };
}

/** What is other than in the sound run. */
export interface Spoilt {
  readonly history?: Partial<History>;
  readonly observed?: Partial<Observed>;
}

/** The promises, by number, that a spoilt run breaks. */
export function brokenBy(spoil: (run: SoundRun) => Spoilt): Record<number, readonly string[]> {
  const sound = soundRun();
  const spoilt = spoil(sound);
  const verdicts = judge({ ...sound.history, ...spoilt.history }, { ...sound.observed, ...spoilt.observed }, LEASE_MS);
  return Object.fromEntries(
    verdicts.flatMap(({ number, problems }) => (problems.length > 0 ? [[number, problems]] : [])),
  );
}
