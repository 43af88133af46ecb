import { expect, test } from "vitest";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { createTestLogger } from "#platform/testing/test-database.ts";
import type { Authorities, Authority } from "./authorities.worker.ts";
import { createAuthority } from "./certificates.ts";
import { keepEdgeCertificates, makeEdgeCertificates } from "./edge-certificates.worker.ts";

const YEAR_MS = 365 * 86_400_000;

async function authority(clock: ManualClock, id: bigint, state: Authority["state"]): Promise<Authority> {
  const from = clock.now();
  const created = await createAuthority({ from, ttlMs: YEAR_MS });
  return { ...created, id, state, stateSince: from, expiresAt: from.add({ milliseconds: YEAR_MS }) };
}

test("an authority whose certificate could not be put to use at once is trusted a round later", async () => {
  const clock = new ManualClock();
  const active = await authority(clock, 1n, "active");
  let known = [active];
  let isNew = false;
  const authorities: Authorities = {
    issuing: () => active,
    serving: () => active,
    trusted: () => known,
    bundlePem: () => active.certificatePem,
    pin: () => "",
    refresh: async () => {
      const wasNew = isNew;
      isNew = false;
      return wasNew;
    },
  };
  const deps = { authorities, clock, log: createTestLogger(), names: [], pollMs: 1_000 };
  const stop = new AbortController();
  const trusted: number[] = [];
  let failures = 2;
  const replace = ({ clientCas }: { clientCas: readonly string[] }) => {
    failures -= 1;
    if (failures >= 0) throw new Error("not now");
    trusted.push(clientCas.length);
  };
  const keeping = keepEdgeCertificates(deps, await makeEdgeCertificates(deps), replace, stop.signal);
  known = [active, await authority(clock, 2n, "announced")];
  isNew = true;
  for (let round = 0; round < 5; round += 1) {
    await clock.untilSleeping();
    await clock.advance(deps.pollMs);
  }
  stop.abort();
  await keeping;
  expect(trusted).toEqual([2]);
});
