import fc from "fast-check";
import { expect, test } from "vitest";
import { missingReplicas, pauseMs } from "./urgency.ts";

const chunk = { chunkHash: "", wantedReplicas: 3, confirmedReplicas: 2, liveReplicas: 2 };

test("what is confirmed or being fetched counts, also on nodes that are silent for the moment", () => {
  expect(missingReplicas(chunk, 0, 0)).toBe(1);
  expect(missingReplicas(chunk, 1, 0)).toBe(0);
  expect(missingReplicas({ ...chunk, liveReplicas: 1 }, 0, 0)).toBe(1);
  expect(missingReplicas({ ...chunk, confirmedReplicas: 3, liveReplicas: 1 }, 0, 0)).toBe(0);
});

test("without a live replica there is nothing to copy", () => {
  expect(missingReplicas({ ...chunk, liveReplicas: 0 }, 0, 0)).toBe(0);
});

test("what is being sent counts, unless replicas were lost down below the quorum", () => {
  expect(missingReplicas(chunk, 0, 1)).toBe(0);
  expect(missingReplicas({ ...chunk, liveReplicas: 1 }, 0, 1)).toBe(1);
  expect(missingReplicas({ ...chunk, confirmedReplicas: 1, liveReplicas: 1 }, 0, 1)).toBe(2);
  // Three replicas were wanted before: all that is missing of five is on its way.
  expect(missingReplicas({ ...chunk, wantedReplicas: 5, confirmedReplicas: 3, liveReplicas: 3 }, 0, 2)).toBe(0);
});

test("repairs never make more than is wanted", () => {
  fc.assert(
    fc.property(
      fc.nat(10),
      fc.nat(10),
      fc.nat(10),
      fc.nat(10),
      fc.nat(10),
      (wanted, confirmed, live, fetching, sent) => {
        const missing = missingReplicas(
          { chunkHash: "", wantedReplicas: wanted, confirmedReplicas: confirmed, liveReplicas: live },
          fetching,
          sent,
        );
        expect(missing).toBeGreaterThanOrEqual(0);
        const waitedFor = wanted - confirmed - fetching - missing;
        if (missing > 0) expect([0, sent]).toContain(waitedFor);
      },
    ),
  );
});

test("pauses grow and stay bounded", () => {
  expect(pauseMs(30_000, 0, () => 0.5)).toBe(30_000);
  expect(pauseMs(30_000, 2, () => 0.5)).toBe(120_000);
  expect(pauseMs(30_000, 1_000, () => 0.5)).toBe(30_000 * 128);
});
