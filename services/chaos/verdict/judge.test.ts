import { expect, test } from "vitest";
import type { Beat, History } from "../history.ts";
import type { Observed, OutboxRow } from "../observed.ts";
import { judge } from "./judge.ts";
import { brokenBy, LEASE_MS, outboxOf, type SoundRun, type Spoilt, seen, soundRun } from "./sound-run.ts";

// The checker itself: it must be content with a sound run and object to every spoilt one, with the right promise.

test("a sound run breaks no promise, and every promise of the design has its line", () => {
  expect(brokenBy(() => ({}))).toEqual({});
  const { history, observed } = soundRun();
  expect(judge(history, observed, LEASE_MS).map(({ number }) => number)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
});

/** An event that everybody knows of: in the outbox and seen. */
function withEvent({ history, observed }: SoundRun, type: string, key: string, createdAtMs: number): Spoilt {
  const rows = outboxOf([["node_registry", type, key]]);
  const late = rows.map((row): OutboxRow => ({ ...row, id: 99, eventId: "e99", createdAtMs }));
  return {
    history: { seen: [...history.seen, ...late.map(seen)] },
    observed: { outbox: [...observed.outbox, ...late] },
  };
}

const cases: readonly (readonly [name: string, promise: number, (run: SoundRun) => Spoilt])[] = [
  ["a user is missing", 0, () => ({ observed: { users: [] } })],
  ["a password was forgotten", 0, () => ({ history: { finalLogins: new Map([["chaos-1", false]]) } })],
  ["an upload is missing", 0, () => ({ observed: { uploads: new Map([["up2", "completed"]]) } })],
  [
    "a reported upload is still open",
    0,
    ({ observed }) => ({ observed: { uploads: new Map([...observed.uploads, ["up1", "open"]]) } }),
  ],
  ["a chunk is missing", 0, ({ observed }) => ({ observed: { chunks: observed.chunks.slice(1) } })],
  [
    "a release was lost",
    0,
    ({ observed }) => ({ observed: { chunks: observed.chunks.map((chunk) => ({ ...chunk, isReleased: false })) } }),
  ],
  [
    "a chunk was released though nobody asked",
    0,
    ({ observed }) => ({ observed: { chunks: observed.chunks.map((chunk) => ({ ...chunk, isReleased: true })) } }),
  ],
  ["an acknowledged replica is missing", 0, () => ({ observed: { replicas: new Set(["n1 c1"]) } })],
  ["a node's state was lost", 0, () => ({ observed: { nodeStates: new Map([["n1", "maintenance"]]) } })],
  [
    "an event was never published",
    1,
    ({ observed }) => ({
      observed: { outbox: observed.outbox.map((row, index) => (index === 3 ? { ...row, isPublished: false } : row)) },
    }),
  ],
  ["an event never reached the subscriber", 1, ({ history }) => ({ history: { seen: history.seen.slice(0, -1) } })],
  [
    "an event came before its predecessor",
    1,
    ({ history }) => ({
      history: { seen: history.seen.map((_, index, all) => all[[0, 2, 1, 3, 4, 5, 6, 7][index] ?? 0] ?? fail()) },
    }),
  ],
  [
    "an event has no change behind it",
    1,
    ({ history }) => ({
      history: {
        seen: [...history.seen, { stream: "USERS", eventId: "forged", subject: "x", key: "u9", keyVersion: 1 }],
      },
    }),
  ],
  ["a change has no event", 1, ({ history, observed }) => withoutEvent({ history, observed }, "UploadCompleted")],
  [
    "a node's state changed without an event",
    1,
    () => ({
      history: {
        nodeStates: [
          { nodeId: "n1", state: "maintenance", answer: "acknowledged" },
          { nodeId: "n1", state: "in_service", answer: "acknowledged" },
        ],
      },
    }),
  ],
  ["a change has two events", 1, (run) => withEvent(run, "UserRegistered", "u1", 50_000)],
  [
    "a version is missing in the outbox",
    1,
    ({ observed }) => ({
      observed: { outbox: observed.outbox.map((row) => (row.eventId === "e3" ? { ...row, keyVersion: 3 } : row)) },
    }),
  ],
  ["an event was given up", 1, () => ({ observed: { deadLetters: 1 } })],
  [
    "a chunk was charged twice",
    2,
    ({ observed }) => ({ observed: { ledger: [...observed.ledger, ...observed.ledger.slice(0, 1)] } }),
  ],
  [
    "a chunk was charged again as late",
    2,
    ({ observed }) => ({
      observed: {
        ledger: [
          ...observed.ledger,
          ...observed.ledger.slice(0, 1).map((entry) => ({ ...entry, kind: "late_charge" })),
        ],
      },
    }),
  ],
  [
    "a chunk was refunded twice",
    2,
    ({ observed }) => ({ observed: { ledger: [...observed.ledger, ...observed.ledger.slice(2)] } }),
  ],
  ["a charge is missing", 2, ({ observed }) => ({ observed: { ledger: observed.ledger.slice(1) } })],
  ["a refund is missing", 2, ({ observed }) => ({ observed: { ledger: observed.ledger.slice(0, 2) } })],
  ["the counter is not the ledger's sum", 2, ({ observed }) => account(observed, { ledgerSum: 200n })],
  ["the counter is not the registry's truth", 2, () => ({ observed: { usage: [{ userId: "u1", bytes: 200n }] } })],
  ["a reservation was forgotten", 2, ({ observed }) => account(observed, { reserved: 100n })],
  [
    "somebody was admitted over the limit",
    2,
    ({ history }) => ({
      history: {
        uploads: history.uploads.map((upload) => ({
          ...upload,
          user: Object.assign(upload.user, { quotaBytes: 99n }),
        })),
      },
    }),
  ],
  ["somebody was refused below the limit", 2, () => ({ history: { quotaComplaints: ["refused with room left"] } })],
  ["the reconciler had to correct", 2, () => ({ observed: { adjustments: 1 } })],
  [
    "a replica counts that nobody reported",
    3,
    ({ observed }) => ({ observed: { replicas: new Set([...observed.replicas, "n3 c1"]) } }),
  ],
  ["a lie was believed", 3, () => ({ history: { falseConfirmations: ["n3 c9"] } })],
  ["a node that is answered is called offline", 4, (run) => withEvent(run, "NodeOffline", "n1", 50_500)],
  [
    "a silent node is never called offline",
    4,
    () => ({ history: { silences: [{ nodeId: "n4", fromMs: 20_000, seenBefore: 0, toMs: 90_000 }] } }),
  ],
  ["a registry that was away calls nodes offline", 4, (run) => calledOffline(run, [])],
  [
    "two streams of a node are answered side by side",
    5,
    () => ({
      history: { supersessions: [{ nodeId: "n1", newFirstAnswerAtMs: 0, oldLastAnswerAtMs: 11_000, oldEnd: "open" }] },
    }),
  ],
  [
    "a wrong password is admitted",
    6,
    () => ({ history: { failedLogins: [{ kind: "wrong password", answer: undefined }] } }),
  ],
  [
    "unknown names are told apart",
    6,
    ({ history }) => ({
      history: { failedLogins: [...history.failedLogins, { kind: "unknown name", answer: "NotFound" }] },
    }),
  ],
  ["a stranger was heard at the broker", 9, () => ({ history: { strangerSuccesses: ["STREAM.DELETE.CHUNKS"] } })],
];

test.each(cases)("objects when %s", (_, promise, spoil) => {
  expect(Object.keys(brokenBy(spoil))).toContain(String(promise));
});

test("a node that is silent or was cut off may be called offline", () => {
  expect(brokenBy((run) => withEvent(run, "NodeOffline", "n4", 50_000))).toEqual({});
  const silences = [{ nodeId: "n4", fromMs: 20_000, seenBefore: 0, toMs: 90_000 }];
  const noticed = (run: SoundRun) => {
    const { history, observed } = withEvent(run, "NodeOffline", "n4", 50_000);
    return { history: { ...history, silences }, ...(observed === undefined ? {} : { observed }) };
  };
  expect(brokenBy(noticed)).toEqual({});
  const cut = { what: "cut", target: "edge", fromMs: 49_000, toMs: 52_000 };
  expect(brokenBy((run) => calledOffline(run, [cut]))).toEqual({});
});

test("what is unknown may have happened or not", () => {
  const unknown = ({ history }: SoundRun) => ({
    history: {
      uploads: history.uploads.map((upload) => ({ ...upload, placed: "unknown", isReported: false }) as const),
      confirmed: new Set<string>(),
    },
  });
  expect(brokenBy(unknown)).toEqual({});
});

test("a node's state that changed with its event is no objection", () => {
  const spoil = (run: SoundRun): Spoilt => {
    const { history, observed } = withEvent(run, "NodeStateChanged", "n1", 50_000);
    const nodeStates = [
      { nodeId: "n1", state: "maintenance", answer: "acknowledged" } as const,
      { nodeId: "n1", state: "in_service", answer: "acknowledged" } as const,
    ];
    return { history: { ...history, nodeStates }, observed: { ...observed } };
  };
  expect(brokenBy(spoil)).toEqual({});
});

test("an event that is seen again, in order, is no objection", () => {
  expect(brokenBy(({ history }) => ({ history: { seen: [...history.seen, ...history.seen] } }))).toEqual({});
});

/** n1 beats all along, unanswered from 40 s on, and is called offline at 55 s. */
function calledOffline(run: SoundRun, disturbances: History["disturbances"]): Spoilt {
  const beats = run.history.beats.map(
    (beat): Beat => ({ ...beat, answeredAtMs: beat.sentAtMs < 40_000 ? beat.answeredAtMs : undefined }),
  );
  const { history, observed } = withEvent(run, "NodeOffline", "n1", 55_000);
  return { history: { ...history, beats, disturbances }, ...(observed === undefined ? {} : { observed }) };
}

function withoutEvent({ history, observed }: SoundRun, type: string): Spoilt {
  const outbox = observed.outbox.filter((row) => !row.type.endsWith(type));
  const ids = new Set(outbox.map(({ eventId }) => eventId));
  return { history: { seen: history.seen.filter(({ eventId }) => ids.has(eventId)) }, observed: { outbox } };
}

function account(observed: Observed, change: Partial<Observed["accounts"][number]>): Spoilt {
  return { observed: { accounts: observed.accounts.map((one) => ({ ...one, ...change })) } };
}

function fail(): never {
  throw new Error("no such event");
}

test("what an upload has left to another one is judged by that one", () => {
  const withHeir = ({ history, observed }: SoundRun) => {
    const uploads = history.uploads.flatMap((heir) => {
      if (heir.uploadId !== "up1") return [heir];
      return [{ ...heir, uploadId: "up0", isReported: false, release: "acknowledged" as const, heir }, heir];
    });
    return { history: { uploads }, observed: { uploads: new Map([...observed.uploads, ["up0", "completed"]]) } };
  };
  expect(brokenBy(withHeir)).toEqual({});
  const lost = brokenBy((run) => {
    const { history, observed } = withHeir(run);
    return { history, observed: { ...observed, replicas: new Set(["n1 c1"]) } };
  });
  expect(lost).toEqual(brokenBy(() => ({ observed: { replicas: new Set(["n1 c1"]) } })));
});
