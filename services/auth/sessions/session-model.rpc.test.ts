import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { reasonOf } from "../testing/refusals.ts";
import { createShiftedClock } from "../testing/shifted-clock.ts";
import { bearer, startTestAuth, type TestAuth } from "../testing/start-test-auth.ts";

let db: TestDatabase;
let nats: TestNats;
let auth: TestAuth;
const clock = createShiftedClock();
const username = `model-${randomUUID()}`;
const password = "a long and unusual phrase";

beforeAll(async () => {
  [db, nats] = await Promise.all([createTestDatabase(), startTestNats()]);
  auth = await startTestAuth({ databaseUrl: db.url("auth_app"), natsUrl: nats.url("auth") }, {}, clock);
  await auth.auth.register({ username, password });
});

afterAll(async () => {
  await auth[Symbol.asyncDispose]();
  await Promise.all([db[Symbol.asyncDispose](), nats[Symbol.asyncDispose]()]);
});

const refresh = (refreshToken: string) => auth.auth.refreshSession({ refreshToken });

test("two refreshes at once get the same answer, a thousand times, and no theft is cried", {
  timeout: 120_000,
}, async () => {
  let { tokens } = await auth.auth.login({ username, password });
  for (let round = 0; round < 1_000; round += 1) {
    const [a, b] = await Promise.all([refresh(tokens?.refreshToken ?? ""), refresh(tokens?.refreshToken ?? "")]);
    if (a.tokens?.refreshToken !== b.tokens?.refreshToken || a.tokens?.accessToken !== b.tokens?.accessToken) {
      expect(a).toEqual(b);
    }
    tokens = a.tokens;
  }
  const { sessions } = await auth.auth.listSessions({}, bearer(tokens?.accessToken));
  expect(sessions.filter((session) => session.isCurrent)).toHaveLength(1);
});

type Step =
  | { readonly kind: "refresh"; readonly back: number; readonly callers: number; readonly isLost: boolean }
  | { readonly kind: "wait"; readonly ms: number }
  | { readonly kind: "logout" };

const hour = 3_600_000;
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("refresh" as const),
      // How many generations behind the newest that was ever issued.
      back: fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.constant(1) }, fc.nat(3)),
      callers: fc.integer({ min: 1, max: 3 }),
      // The caller died before the answer came: it goes on with what it had.
      isLost: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("wait" as const),
      ms: fc.constantFrom(1_000, 10_000, 19_000, 21_000, hour, 13 * 24 * hour, 15 * 24 * hour),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "logout" as const }) },
);

/** What rule 5.6 says, told without a database. */
class Model {
  readonly issued: string[];
  generation = 0;
  rotatedMs: number;
  idleEndMs: number;
  readonly endMs: number;
  isEnded = false;

  constructor(token: string, nowMs: number) {
    this.issued = [token];
    this.rotatedMs = nowMs;
    this.idleEndMs = nowMs + 14 * 24 * hour;
    this.endMs = nowMs + 30 * 24 * hour;
  }

  expects(generation: number, nowMs: number): "next" | "same" | "refused" {
    if (this.isEnded || nowMs >= Math.min(this.idleEndMs, this.endMs)) return "refused";
    if (generation === this.generation) return "next";
    if (generation === this.generation - 1 && nowMs - this.rotatedMs < 20_000) return "same";
    this.isEnded = true;
    return "refused";
  }

  rotated(token: string, nowMs: number): void {
    this.issued.push(token);
    this.generation += 1;
    this.rotatedMs = nowMs;
    this.idleEndMs = nowMs + 14 * 24 * hour;
  }
}

test("whatever happens to a session, it does what the model says", { timeout: 120_000 }, async () => {
  const run = async (steps: readonly Step[]) => {
    const { tokens } = await auth.auth.login({ username, password });
    const model = new Model(tokens?.refreshToken ?? "", clock.now().epochMilliseconds);
    let accessToken = tokens?.accessToken;
    for (const action of steps) {
      const nowMs = clock.now().epochMilliseconds;
      if (action.kind === "wait") {
        clock.jump(action.ms);
      } else if (action.kind === "logout") {
        await auth.auth.logout({}, bearer(accessToken)).then(
          () => {
            model.isEnded = true;
          },
          () => {},
        );
      } else {
        const generation = Math.max(0, model.generation - action.back);
        const token = model.issued[generation] ?? "";
        const expected = model.expects(generation, nowMs);
        if (expected === "refused") {
          expect(await reasonOf(refresh(token))).toBe("REFRESH_TOKEN_INVALID");
          continue;
        }
        const answers = await Promise.all(Array.from({ length: action.callers }, () => refresh(token)));
        const [first] = answers;
        for (const answer of answers) expect(answer).toEqual(first);
        const newToken = first?.tokens?.refreshToken ?? "";
        if (expected === "same") expect(newToken).toBe(model.issued[model.generation]);
        else model.rotated(newToken, nowMs);
        if (!action.isLost) accessToken = first?.tokens?.accessToken;
      }
    }
    const last = model.expects(model.generation, clock.now().epochMilliseconds);
    const token = model.issued[model.generation] ?? "";
    if (last === "next") expect((await refresh(token)).tokens).toBeDefined();
    else expect(await reasonOf(refresh(token))).toBe("REFRESH_TOKEN_INVALID");
  };
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25, size: "max" }), run), {
    numRuns: 60,
    endOnFailure: true,
  });
});
