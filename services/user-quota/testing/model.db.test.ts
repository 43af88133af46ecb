import fc from "fast-check";
import { test } from "vitest";
import { createFixture } from "./fixture.ts";
import { expectSoundBooks } from "./invariants.ts";
import { commands, newModel } from "./model-commands.ts";

// QUOTA_MODEL_RUNS=2000 is a night's work; fast-check prints seed and path of what it finds.
const numRuns = Number(process.env.QUOTA_MODEL_RUNS ?? 25);

test(
  "the service does what a simple model of it does, whatever is asked in whatever order",
  async () => {
    await using fixture = await createFixture({ defaultQuotaBytes: 100n });
    await fc.assert(
      fc.asyncProperty(fc.commands(commands, { maxCommands: 40, size: "max" }), async (run) => {
        const model = await newModel(fixture);
        await fc.asyncModelRun(() => ({ model, real: fixture }), run);
        await expectSoundBooks(fixture.pool);
      }),
      { numRuns, endOnFailure: numRuns > 100 },
    );
  },
  Math.max(60_000, numRuns * 3_000),
);
