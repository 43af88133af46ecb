import { expect, test } from "vitest";
import type { LimitChange } from "../history.ts";
import type { Observed } from "../observed.ts";
import { brokenBy, type SoundRun, type Spoilt } from "./sound-run.ts";

const limit = (bytes: bigint, answer: LimitChange["answer"] = "acknowledged"): LimitChange => ({
  ...{ userId: "u1", bytes, answer, tries: 1 },
});
const entry = (kind: string, used: bigint, of: bigint): Observed["balances"][number] => ({
  ...{ userId: "u1", kind, used, limit: of },
});
/** What is told of these entries and no others. */
const thresholds = ({ observed }: SoundRun, balances: Observed["balances"], percents: readonly number[]): Spoilt => ({
  observed: {
    balances: [entry("quota_change", 0n, 1_000n), ...balances],
    told: { ...observed.told, thresholds: percents.map((percent) => ({ userId: "u1", percent })) },
  },
});
const stored = ({ observed: { told } }: SoundRun, others: Observed["told"]["stored"]): Spoilt => ({
  observed: { told: { ...told, stored: others } },
});
const upAndDown = [entry("charge", 900n, 1_000n), entry("refund", 740n, 1_000n), entry("charge", 800n, 1_000n)];

const cases: readonly (readonly [name: string, promise: number, (run: SoundRun) => Spoilt])[] = [
  ["an acknowledged limit was lost", 0, () => ({ history: { limits: [limit(900n)] } })],
  ["a limit changed without its entry", 1, () => ({ history: { limits: [limit(900n), limit(1_000n)] } })],
  [
    "a repeated change of a limit was made twice",
    1,
    ({ observed }) => ({ observed: { balances: [entry("quota_change", 0n, 1_000n), ...observed.balances] } }),
  ],
  ["a threshold was crossed and not told", 1, (run) => thresholds(run, [entry("charge", 800n, 1_000n)], [])],
  [
    "a new limit crossed thresholds untold",
    1,
    (run) => thresholds(run, [entry("quota_change", 0n, 0n), entry("charge", 1n, 0n)], [80]),
  ],
  ["a threshold was told twice", 1, (run) => thresholds(run, [entry("charge", 800n, 1_000n)], [80, 80])],
  ["a threshold was not armed again", 1, (run) => thresholds(run, upAndDown, [80, 90])],
  ["a threshold was told that nobody crossed", 1, (run) => thresholds(run, [entry("charge", 799n, 1_000n)], [80])],
  [
    "a revocation has no event",
    1,
    ({ history }) => ({
      history: { revocations: [...history.revocations, { userId: "u1", answer: "acknowledged" }] },
    }),
  ],
  [
    "a confirmation was told twice",
    1,
    (run) => stored(run, [...run.observed.told.stored, ...run.observed.told.stored.slice(0, 1)]),
  ],
  [
    "a quorum was told twice",
    1,
    (run) =>
      stored(
        run,
        run.observed.told.stored.map((one) => ({ ...one, reachedQuorum: true })),
      ),
  ],
  [
    "a quorum was never told",
    1,
    (run) =>
      stored(
        run,
        run.observed.told.stored.map((one) => ({ ...one, reachedQuorum: false })),
      ),
  ],
  [
    "a quorum was told too early",
    1,
    (run) =>
      stored(
        run,
        run.observed.told.stored.map((one) => ({ ...one, confirmedReplicas: 1 })),
      ),
  ],
  ["a reservation was settled twice", 2, () => ({ observed: { misposted: ["r1: 200 posted, charges of 100"] } })],
  [
    "a charge was not covered by its reservation",
    2,
    ({ observed }) => ({
      observed: {
        ledger: observed.ledger.map((one) => (one.kind === "charge" ? { ...one, kind: "late_charge" } : one)),
      },
    }),
  ],
  ["a reservation never ends", 2, () => ({ observed: { openReservations: ["r1 of user u1 is closing"] } })],
  [
    "a dead token is of use",
    6,
    () => ({ history: { sessionComplaints: ["user u1: GetQuota with a token that was dead"] } }),
  ],
  [
    "clients are not sent to a node that holds a chunk",
    10,
    () => ({ history: { located: new Map([["c1", ["n1"]]]) } }),
  ],
  [
    "clients are sent to a node that holds nothing",
    10,
    () => ({ history: { located: new Map([["c1", ["n1", "n2", "n3"]]]) } }),
  ],
  ["clients are not told where a chunk is", 10, () => ({ history: { located: new Map() } })],
];

test.each(cases)("objects when %s", (_, promise, spoil) => {
  expect(Object.keys(brokenBy(spoil))).toContain(String(promise));
});

test("thresholds are told once for each crossing, and again after the use or the limit has left them behind", () => {
  expect(brokenBy((run) => thresholds(run, upAndDown, [80, 90, 80]))).toEqual({});
  const raised = [
    entry("charge", 800n, 1_000n),
    entry("quota_change", 800n, 2_000n),
    entry("quota_change", 800n, 1_000n),
  ];
  const limits = [limit(1_000n), limit(2_000n), limit(1_000n)];
  const spoil = (run: SoundRun) => ({ ...thresholds(run, raised, [80, 80]), history: { limits } });
  expect(brokenBy(spoil)).toEqual({});
});

test("what is unknown of a limit or of sessions may have happened or not", () => {
  const limits = [limit(1_000n), limit(900n, "unknown"), limit(1_000n)];
  expect(brokenBy(() => ({ history: { limits } }))).toEqual({});
  const again = ({ observed }: SoundRun): Spoilt => ({
    history: { limits: [{ ...limit(1_000n), tries: 2 }] },
    observed: { balances: [entry("quota_change", 0n, 1_000n), ...observed.balances] },
  });
  expect(brokenBy(again)).toEqual({});
  const unknown = { userId: "u1", answer: "unknown" } as const;
  expect(brokenBy(({ history }) => ({ history: { revocations: [...history.revocations, unknown] } }))).toEqual({});
});

test("a node that lost its replica and came back with it is heard again", () => {
  const again = ({ observed: { told } }: SoundRun): Spoilt => {
    const [first] = told.stored;
    if (first === undefined) throw new Error("nothing was told");
    return {
      observed: { told: { ...told, lost: [first], stored: [...told.stored, { ...first, reachedQuorum: false }] } },
    };
  };
  expect(brokenBy(again)).toEqual({});
});
