import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { createTestDatabase } from "#platform/testing/test-database.ts";
import { createShiftedClock } from "../testing/shifted-clock.ts";
import { rotateKeys } from "./key-rotation.worker.ts";
import { createSealingKey } from "./sealing.ts";
import { listSigningKeys } from "./signing-keys.store.ts";

const YEAR_MS = 365 * 86_400_000;
const rules = { intervalMs: 30 * 86_400_000, publishMs: 600_000, retireMs: 1_800_000 };

test("keys that were made while the clock was years ahead are rotated as if they were made when it was right again", async () => {
  await using db = await createTestDatabase();
  const clock = createShiftedClock();
  const deps = { pool: await db.pool("auth"), sealing: createSealingKey(randomBytes(32)), clock };
  clock.jump(2 * YEAR_MS);
  await rotateKeys(deps, rules);
  clock.jump(rules.publishMs);
  expect(await rotateKeys(deps, rules, { wanted: true })).toMatchObject({ promoted: true });
  clock.jump(-rules.publishMs - 2 * YEAR_MS);
  const before = await listSigningKeys(deps.pool);

  const { promoted, tooEarlyMs } = await rotateKeys(deps, rules, { wanted: true });
  expect({ promoted, tooEarlyMs }).toEqual({ promoted: false, tooEarlyMs: rules.publishMs });
  expect(await listSigningKeys(deps.pool)).toHaveLength(before.length);
  clock.jump(rules.publishMs);
  expect(await rotateKeys(deps, rules, { wanted: true })).toMatchObject({ promoted: true, dropped: [] });
  clock.jump(rules.retireMs);
  expect((await rotateKeys(deps, rules)).dropped).toHaveLength(2);
  clock.jump(rules.intervalMs - rules.retireMs);
  expect(await rotateKeys(deps, rules)).toMatchObject({ promoted: true });
});
