import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { median } from "#platform/testing/median.ts";
import { isShort, measured } from "./measured.ts";
import { stopChild } from "./registry-kit.ts";

// From the start of each service's process until it first asks for its database: the time that is its own. The database
// is a port that counts who knocks; a bare Node process that knocks at once is the baseline.

const ROUNDS = isShort ? 3 : 9;
const services = join(import.meta.dirname, "..");
const port = createServer((socket) => socket.destroy());
port.listen(0, "127.0.0.1");
await once(port, "listening");
const address = port.address();
if (address === null || typeof address === "string") throw new Error("the port has no number");
const number = address.port;

const url = `127.0.0.1:${number}`;
const env = {
  PATH: process.env.PATH,
  DATABASE_URL: `postgres://nobody:nothing@${url}/none?sslmode=disable`,
  NATS_URL: `nats://${url}`,
  AUTH_URL: `http://${url}`,
  USER_QUOTA_URL: `http://${url}`,
  NODE_REGISTRY_URL: `http://${url}`,
  SERVICE_CLIENT_ID: "bench",
  SERVICE_CLIENT_SECRET: randomBytes(16).toString("hex"),
  KEY_ENCRYPTION_KEY: randomBytes(32).toString("base64"),
  NODE_EDGE_NAMES: "localhost",
  ...{ PORT: "0", OPS_PORT: "0", NODE_EDGE_PORT: "0", LOG_LEVEL: "fatal" },
};

const bare = await rounds(["-e", `require("node:net").connect(${number}, "127.0.0.1")`]);
console.log(`bare Node: ${median(bare).toFixed(2)} s`);
const slowest: number[] = [];
for (const service of ["auth", "user-quota", "node-registry"]) {
  const spans = await rounds([join(services, service, "main.ts")]);
  console.log(`${service}: ${median(spans).toFixed(2)} s`);
  if (median(spans) > median(slowest) || slowest.length === 0) slowest.splice(0, slowest.length, ...spans);
}
measured("startUp", slowest);
port.close();

/** Seconds until the process knocks, after one start that warms the file cache. */
async function rounds(args: readonly string[]): Promise<number[]> {
  const spans: number[] = [];
  for (let round = 0; round <= ROUNDS; round += 1) {
    const startedAt = performance.now();
    const child = spawn(process.execPath, args, { env, stdio: ["ignore", "ignore", "inherit"] });
    const knocked = once(port, "connection").then(() => true);
    const ended = once(child, "exit").then(() => false);
    if (!(await Promise.race([knocked, ended])))
      throw new Error(`${args.at(-1)} ended without asking for its database`);
    if (round > 0) spans.push((performance.now() - startedAt) / 1_000);
    await stopChild(child);
  }
  return spans;
}
