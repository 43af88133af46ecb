import { execFile } from "node:child_process";
import { expect, test } from "vitest";

// The short form of `npm run chaos`, with a seed that is known to kill, wipe, fill and restart within its time.

test("whatever is killed, paused, wiped, filled or cut, every promise holds", { timeout: 400_000 }, async () => {
  const command = ["services/chaos/main.ts", "--seed", "490", "--minutes", "0.22", "--nodes", "8", "--gateways", "1"];
  const { code, output } = await run(command);
  expect(code, output).toBe(0);
  // A run that looked at nothing must not look like one in which everything held.
  expect(output.match(/^held /gm), output).toHaveLength(11);
  expect(Number(/(\d+) uploads/.exec(output)?.[1]), output).toBeGreaterThan(0);
});

function run(command: readonly string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, command, { timeout: 380_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), output: `${stdout}\n${stderr}` });
    });
  });
}
