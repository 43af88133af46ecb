import { expect, test } from "vitest";
import { fromTimestamp } from "#platform/rpc/time.ts";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { digestToBytes } from "./chunk-digest.ts";
import { createNodeCommands } from "./node-commands.ts";

const nodeId = "a1".repeat(32);
const MINUTE_MS = 60_000;

test("what is asked again and again keeps its id, and its deadline ahead", async () => {
  const clock = new ManualClock();
  const commands = createNodeCommands(clock);
  commands.onHeartbeat(nodeId, digestToBytes(1n));
  commands.setDeletions(nodeId, ["ab".repeat(32)]);
  expect(commands.deletionsStand(nodeId, clock.monotonicMs())).toBe(true);
  commands.compared(nodeId, 1n, "different");
  const first = commands.commandsFor(nodeId, 16);
  expect(first.map(({ command }) => command.case)).toEqual(["deleteChunks", "reportChunks"]);
  for (let minutes = 0; minutes < 60; minutes += 1) {
    await clock.advance(MINUTE_MS);
    expect(commands.deletionsStand(nodeId, clock.monotonicMs())).toBe(true);
    commands.onHeartbeat(nodeId, digestToBytes(1n));
    const repeated = commands.commandsFor(nodeId, 16);
    expect(repeated.map(({ commandId }) => commandId)).toEqual(first.map(({ commandId }) => commandId));
    for (const { deadline } of repeated) {
      const aheadMs = deadline && fromTimestamp(deadline).epochMilliseconds - clock.now().epochMilliseconds;
      expect(aheadMs).toBeGreaterThanOrEqual(5 * MINUTE_MS);
    }
  }
});

test("a node that beats more rarely than every five minutes is told what it has to do", async () => {
  const clock = new ManualClock();
  const commands = createNodeCommands(clock);
  const leaseTtlMs = 30 * MINUTE_MS;
  commands.onHeartbeat(nodeId, digestToBytes(1n));
  commands.compared(nodeId, 1n, "different");
  await clock.advance(12 * MINUTE_MS);
  commands.forgetSilent(leaseTtlMs);
  expect(commands.commandsFor(nodeId, 16).map(({ command }) => command.case)).toEqual(["reportChunks"]);
  await clock.advance(20 * MINUTE_MS);
  commands.forgetSilent(leaseTtlMs);
  expect(commands.isHeard(nodeId)).toBe(false);
});
