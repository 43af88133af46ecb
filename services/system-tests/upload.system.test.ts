import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type ControlPlane, startControlPlane } from "./fixtures/control-plane.ts";
import { gatewayClients } from "./fixtures/network.ts";
import { until } from "./fixtures/until.ts";

// The commands that a newcomer types: sample nodes, and a file stored on them.

const run = promisify(execFile);
let controlPlane: ControlPlane;
let nodes: ChildProcess;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  controlPlane = await startControlPlane();
  env = { ...process.env, DECENTRASTORE_HOME: controlPlane.home };
  nodes = spawn(process.execPath, ["services/dev/sample-node/main.ts", "--count", "3"], { env, stdio: "ignore" });
  const gateway = await gatewayClients(await controlPlane.devFile());
  await until("three nodes are online", 60_000, async () => {
    return (await gateway.nodes.listNodes({ onlyActive: true })).nodes.length === 3;
  });
}, 180_000);
afterAll(async () => {
  const ended = once(nodes, "exit");
  nodes.kill("SIGTERM");
  await ended;
  await controlPlane[Symbol.asyncDispose]();
}, 120_000);

it("stores a file on sample nodes, charges it once, and finds every chunk again", { timeout: 120_000 }, async () => {
  const content = randomBytes(700_000);
  const file = join(controlPlane.home, "file");
  await writeFile(file, content);
  const upload = () => run(process.execPath, ["services/dev/upload/main.ts", file], { env });

  const first = await upload();
  expect(first.stdout).toContain("before: 0 bytes used, 0 reserved");
  expect(first.stdout).toContain("after:  700000 bytes used, 0 reserved");
  const again = await upload();
  expect(again.stdout).toContain("after:  700000 bytes used, 0 reserved");

  const pieces = [0, 262_144, 524_288].map((start) => content.subarray(start, start + 262_144));
  const hashes = pieces.map((piece) => createHash("sha256").update(piece).digest("hex"));
  const gateway = await gatewayClients(await controlPlane.devFile());
  const { chunks } = await gateway.chunks.locateChunks({ chunkHashes: hashes });
  expect(chunks.map((chunk) => chunk.nodes.length)).toEqual([3, 3, 3]);
  for (const [index, hash] of hashes.entries()) {
    const located = chunks.find((chunk) => chunk.chunkHash === hash);
    const { address } = located?.nodes[0] ?? {};
    const answer = await fetch(`http://${address?.host}:${address?.port}/chunks/${hash}`);
    expect(Buffer.from(await answer.arrayBuffer()).equals(pieces[index] ?? Buffer.alloc(0))).toBe(true);
  }
});

it("says what is wrong with a file that is not there", async () => {
  await expect(run(process.execPath, ["services/dev/upload/main.ts", "/nowhere"], { env })).rejects.toThrow("ENOENT");
});
