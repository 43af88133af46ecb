import { expect, test } from "vitest";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { createRevocations } from "./revocations.ts";

const clock = new ManualClock();
const nowS = () => Math.floor(clock.now().epochMilliseconds / 1_000);
const at = (seconds: number) => Temporal.Instant.fromEpochMilliseconds(seconds * 1_000);

test("tokens issued until the instant are refused, later ones are good", () => {
  const revocations = createRevocations(clock);
  const claims = (iat: number, sid = "s1") => ({ sub: "u1", sid, iat });
  expect(revocations.isRevoked(claims(nowS()))).toBe(false);
  revocations.add({ userId: "u1", sessionIds: ["s1"], validAfter: at(nowS()) });
  expect(revocations.isRevoked(claims(nowS()))).toBe(true);
  expect(revocations.isRevoked(claims(nowS() + 1))).toBe(false);
  expect(revocations.isRevoked(claims(nowS(), "s2"))).toBe(false);
  revocations.add({ userId: "u1", sessionIds: [], validAfter: at(nowS() + 5) });
  expect(revocations.isRevoked(claims(nowS() + 5, "s2"))).toBe(true);
  // One that comes late and is older takes nothing back.
  revocations.add({ userId: "u1", sessionIds: [], validAfter: at(nowS() - 5) });
  expect(revocations.isRevoked(claims(nowS() + 5, "s2"))).toBe(true);
  expect(revocations.isRevoked({ sub: "u2", sid: "", iat: nowS() })).toBe(false);
});

test("what no token can outlive is forgotten", async () => {
  const revocations = createRevocations(clock);
  for (let n = 0; n < 1_000; n += 1) {
    revocations.add({ userId: `u${n}`, sessionIds: [`s${n}`], validAfter: clock.now() });
  }
  revocations.add({ userId: "old", sessionIds: [], validAfter: clock.now().subtract({ hours: 1 }) });
  expect(revocations.size()).toBe(1_000);
  await clock.advance(16 * 60_000);
  revocations.add({ userId: "u", sessionIds: ["s"], validAfter: clock.now() });
  expect(revocations.size()).toBe(1);
});

test("what was revoked while the clock was far ahead locks nobody out, and hides no later revocation", () => {
  const revocations = createRevocations(clock);
  const claims = { sub: "u1", sid: "s1", iat: nowS() };
  revocations.add({ userId: "u1", sessionIds: [], validAfter: clock.now().add({ hours: 48 }) });
  expect(revocations.isRevoked(claims)).toBe(false);
  revocations.add({ userId: "u1", sessionIds: [], validAfter: clock.now() });
  expect(revocations.isRevoked(claims)).toBe(true);
});

test("what was revoked while the clock was far ahead keeps nothing else from being forgotten", async () => {
  const revocations = createRevocations(clock);
  for (const n of [1, 2, 3]) {
    revocations.add({ userId: `ahead${n}`, sessionIds: [], validAfter: clock.now().add({ hours: 20 }) });
  }
  for (let n = 0; n < 100; n += 1) revocations.add({ userId: `u${n}`, sessionIds: [], validAfter: clock.now() });
  expect(revocations.size()).toBe(103);
  await clock.advance(16 * 60_000);
  for (const n of [1, 2, 3]) revocations.add({ userId: `v${n}`, sessionIds: [], validAfter: clock.now() });
  expect(revocations.size()).toBe(6);
  expect(revocations.isRevoked({ sub: "ahead1", sid: "", iat: nowS() })).toBe(true);
});
