import { expect, test } from "vitest";
import type { CleanStop, Disturbance, Refusal } from "../history.ts";
import { judge } from "./judge.ts";
import { brokenBy, LEASE_MS, type SoundRun, type Spoilt, soundRun } from "./sound-run.ts";

// How the system answers and stops, whatever it answers.

const refused = (refusal: Partial<Refusal>): Spoilt => {
  const other = { rpc: "Login", code: "Internal", reason: "", message: "oops", metadata: {}, isFromServer: true };
  return { history: { refusals: [{ ...other, ...refusal }] } };
};
const stopped = (stop: Partial<CleanStop>, disturbances: readonly Disturbance[] = []): Spoilt => ({
  history: {
    stops: [{ process: "auth", fromMs: 10_000, tookMs: 300, end: "exit code 0", ...stop }],
    disturbances: [...disturbances],
  },
});

const cases: readonly (readonly [name: string, promise: number, (run: SoundRun) => Spoilt])[] = [
  ["an internal error is shown", 7, () => refused({ reason: "INTERNAL" })],
  ["an internal error is shown without a reason", 7, () => refused({})],
  ["an unknown error is shown", 7, () => refused({ code: "Unknown" })],
  ["a service ends by itself", 7, () => ({ observed: { crashes: ["auth ended with exit code 1"] } })],
  ["a service grows", 7, () => ({ observed: { residentMiB: new Map([["auth", 4_000]]) } })],
  ["a stop fails", 8, () => stopped({ end: "exit code 1" })],
  ["a stop takes too long", 8, () => stopped({ tookMs: 25_001 })],
  ["somebody kills what is stopping, whom nobody asked", 8, () => stopped({ end: "SIGKILL" })],
];

test.each(cases)("objects when %s", (_, promise, spoil) => {
  expect(Object.keys(brokenBy(spoil))).toContain(String(promise));
});

test("what a client's own transport makes of a connection that was cut is no answer of the system", () => {
  expect(brokenBy(() => refused({ isFromServer: false }))).toEqual({});
  expect(brokenBy(() => refused({ code: "Unavailable" }))).toEqual({});
});

test("a process that was paused or killed while it stopped is not to blame", () => {
  const during = (what: string, target: string) => [{ what, target, fromMs: 12_000, toMs: 17_000 }];
  expect(brokenBy(() => stopped({ tookMs: 29_900 }, during("pause", "auth")))).toEqual({});
  expect(Object.keys(brokenBy(() => stopped({ tookMs: 30_100 }, during("pause", "auth"))))).toEqual(["8"]);
  expect(Object.keys(brokenBy(() => stopped({ tookMs: 29_900 }, during("pause", "nats"))))).toEqual(["8"]);
  expect(brokenBy(() => stopped({ tookMs: 5_000, end: "SIGKILL" }, during("kill", "auth")))).toEqual({});
  expect(brokenBy(() => stopped({ tookMs: 5_000, end: "SIGKILL" }, during("failpoints", "x=kill@1")))).toEqual({});
});

test("the limit of a clean stop is the one that its title names", () => {
  const { history, observed } = soundRun();
  const title = judge(history, observed, LEASE_MS).find(({ number }) => number === 8)?.title ?? "";
  const seconds = Number(/(\d+) s$/.exec(title)?.[1]);
  expect(brokenBy(() => stopped({ tookMs: seconds * 1_000 }))).toEqual({});
  expect(Object.keys(brokenBy(() => stopped({ tookMs: seconds * 1_000 + 1 })))).toEqual(["8"]);
});
