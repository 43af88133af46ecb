import { expect, test } from "vitest";
import type { History, UserRecord } from "../history.ts";
import { brokenBy, type SoundRun, type Spoilt } from "./sound-run.ts";

// What the checker says of nodes that are honest and of users who go.

const cases: readonly (readonly [name: string, promise: number, (run: SoundRun) => Spoilt])[] = [
  ["a deleted user is there", 0, ({ history }) => ({ history: { users: deleted(history) } })],
  [
    "a deleted user's chunk is still there",
    0,
    ({ history }) => ({
      history: {
        users: deleted(history),
        uploads: history.uploads.map((one) => ({ ...one, user: deletedUser(one.user) })),
      },
      observed: { users: [] },
    }),
  ],
  ["an honest proof was not accepted", 10, () => ({ history: { proofComplaints: ["node n1"] } })],
  ["an honest node was found wanting", 10, () => ({ observed: { punishments: ["proof_timed_out of c1 by n1"] } })],
  [
    "a node holds what the registry has forgotten",
    10,
    ({ history }) => ({ history: { held: new Set([...history.held, "n3 c1"]) } }),
  ],
  ["the registry counts what its node does not hold", 10, () => ({ history: { held: new Set(["n1 c1"]) } })],
  [
    "a lost replica was not made anew",
    10,
    () => ({ history: { held: new Set(["n1 c1"]) }, observed: { replicas: new Set(["n1 c1"]) } }),
  ],
];

test.each(cases)("objects when %s", (_, promise, spoil) => {
  expect(Object.keys(brokenBy(spoil))).toContain(String(promise));
});

test("a released chunk may still lie on a node, which has to be told yet", () => {
  expect(brokenBy(({ history }) => ({ history: { held: new Set([...history.held, "n1 c2"]) } }))).toEqual({});
});

function deletedUser(user: UserRecord): UserRecord {
  return { ...user, deletion: "acknowledged" };
}

function deleted({ users }: History): UserRecord[] {
  return users.map(deletedUser);
}
