import fc from "fast-check";
import { expect, test } from "vitest";
import { type KeyLife, planRotation } from "./rotation.ts";
import { createSealingKey, SealError } from "./sealing.ts";

const rules = { intervalMs: 30 * 86_400_000, publishMs: 600_000, retireMs: 1_800_000 };
const start = Temporal.Instant.from("2026-01-01T00:00:00Z");

/** Does what `rotateKeys` does with the rows, without the rows. */
function apply(keys: readonly KeyLife[], now: Temporal.Instant, wanted: boolean, fresh: () => string): KeyLife[] {
  const plan = planRotation(keys, now, rules, wanted);
  let after = keys.filter((key) => !plan.drop.includes(key.keyId));
  if (plan.promote) {
    after = after.map((key) => {
      if (key.state === "current") return { ...key, state: "previous" as const, previousSince: now };
      return key.state === "next" ? { ...key, state: "current" as const, currentSince: now } : key;
    });
  }
  const made = (state: "next" | "current"): KeyLife => ({
    keyId: fresh(),
    state,
    createdAt: now,
    currentSince: state === "current" ? now : null,
    previousSince: null,
  });
  if (plan.makeCurrent) after.push(made("current"));
  if (plan.makeNext) after.push(made("next"));
  return after;
}

test("whatever the order of events, no key signs before verifiers know it, and none goes before its tokens", () => {
  const steps = fc.array(fc.record({ waitMs: fc.integer({ min: 0, max: 40 * 86_400_000 }), wanted: fc.boolean() }), {
    maxLength: 40,
    size: "max",
  });
  fc.assert(
    fc.property(steps, (list) => {
      let now = start;
      let count = 0;
      const fresh = () => `key-${count++}`;
      let keys = apply([], now, false, fresh);
      const first = keys.find((key) => key.state === "current")?.keyId;
      for (const { waitMs, wanted } of list) {
        now = now.add({ milliseconds: waitMs });
        const before = keys;
        keys = apply(keys, now, wanted, fresh);
        expect(keys.filter((key) => key.state === "current")).toHaveLength(1);
        expect(keys.filter((key) => key.state === "next")).toHaveLength(1);
        for (const key of keys.filter(({ currentSince }) => currentSince !== null)) {
          if (key.keyId === first || key.currentSince === null) continue;
          expect(key.currentSince.since(key.createdAt).total("milliseconds")).toBeGreaterThanOrEqual(rules.publishMs);
        }
        for (const gone of before.filter(({ keyId }) => keys.every((key) => key.keyId !== keyId))) {
          expect(gone.previousSince).not.toBeNull();
          const idleMs = now.epochMilliseconds - (gone.previousSince?.epochMilliseconds ?? 0);
          expect(idleMs).toBeGreaterThanOrEqual(rules.retireMs);
        }
      }
    }),
    { numRuns: 200 },
  );
});

test("a rotation that is asked for too early says how long it has to wait", () => {
  const keys = apply([], start, false, () => String(Math.random()));
  const plan = planRotation(keys, start.add({ seconds: 100 }), rules, true);
  expect(plan).toMatchObject({ promote: false, tooEarlyMs: 500_000 });
  expect(planRotation(keys, start.add({ seconds: 600 }), rules, true).promote).toBe(true);
  expect(planRotation(keys, start.add({ seconds: 600 }), rules).promote).toBe(false);
  expect(planRotation(keys, start.add({ hours: 24 * 30 }), rules).promote).toBe(true);
});

test("what is sealed opens with its key and for its purpose only, and a new key still opens the old", () => {
  const [old, fresh, foreign] = [1, 2, 3].map((byte) => Buffer.alloc(32, byte));
  if (old === undefined || fresh === undefined || foreign === undefined) throw new Error("no keys");
  const sealed = createSealingKey(old).seal(Buffer.from("secret"), "a");
  expect(sealed.includes(Buffer.from("secret"))).toBe(false);
  const rotated = createSealingKey(fresh, old);
  expect(rotated.open(sealed, "a").toString()).toBe("secret");
  expect([rotated.isCurrent(sealed), rotated.isCurrent(rotated.seal(Buffer.of(1), "a"))]).toEqual([false, true]);
  expect(() => rotated.open(sealed, "b")).toThrow(SealError);
  expect(() => createSealingKey(foreign).open(sealed, "a")).toThrow(SealError);
  for (let at = 0; at < sealed.length; at += 1) {
    const changed = Buffer.from(sealed);
    changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
    expect(() => rotated.open(changed, "a")).toThrow(SealError);
    expect(() => rotated.open(sealed.subarray(0, at), "a")).toThrow(SealError);
  }
});
