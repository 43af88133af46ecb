import { X509Certificate } from "node:crypto";
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

/** Its one authority is active; what is announced is found by the next look. */
async function createParts(clock: ManualClock) {
  const active = await authority(clock, 1n, "active");
  const state = { known: [active], isNew: false };
  const authorities: Authorities = {
    issuing: () => active,
    serving: () => active,
    trusted: () => state.known,
    bundlePem: () => active.certificatePem,
    pin: () => "",
    refresh: async () => {
      const { isNew } = state;
      state.isNew = false;
      return isNew;
    },
  };
  const announce = async () => {
    state.known = [active, await authority(clock, 2n, "announced")];
    state.isNew = true;
  };
  return { announce, deps: { authorities, clock, log: createTestLogger(), names: [], pollMs: 1_000 } };
}

async function rounds(clock: ManualClock, count: number): Promise<void> {
  for (let round = 0; round < count; round += 1) {
    await clock.untilSleeping();
    await clock.advance(1_000);
  }
  await clock.untilSleeping();
}

test("an authority whose certificate could not be put to use at once is trusted a round later", async () => {
  const clock = new ManualClock();
  const { announce, deps } = await createParts(clock);
  const stop = new AbortController();
  const trusted: number[] = [];
  let failures = 2;
  const replace = ({ clientCas }: { clientCas: readonly string[] }) => {
    failures -= 1;
    if (failures >= 0) throw new Error("not now");
    trusted.push(clientCas.length);
  };
  const keeping = keepEdgeCertificates(deps, await makeEdgeCertificates(deps), replace, stop.signal);
  await announce();
  await rounds(clock, 5);
  stop.abort();
  await keeping;
  expect(trusted).toEqual([2]);
});

test("a server certificate that was made while the clock was ahead is replaced when it has gone back", async () => {
  const clock = new ManualClock();
  const { deps } = await createParts(clock);
  clock.jump(2 * 3_600_000);
  const stop = new AbortController();
  const validFrom: Date[] = [];
  const replace = ({ certificate }: { certificate: string }) => {
    validFrom.push(new X509Certificate(certificate).validFromDate);
  };
  const keeping = keepEdgeCertificates(deps, await makeEdgeCertificates(deps), replace, stop.signal);
  await rounds(clock, 2);
  expect(validFrom).toEqual([]);
  clock.jump(-2 * 3_600_000);
  await rounds(clock, 3);
  stop.abort();
  await keeping;
  expect(validFrom).toHaveLength(1);
  expect(validFrom[0]?.getTime()).toBeLessThan(clock.now().epochMilliseconds);
});
