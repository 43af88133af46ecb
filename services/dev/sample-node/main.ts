import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { Command, InvalidArgumentError } from "commander";
import { homeFolder } from "../start/home.ts";

// `npm run dev:node`: storage nodes for trying the network out. Each is a process of its own that speaks only the
// public protocol, so it is also the example to write a real one by.

function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError("must be a whole number from 1");
  return value;
}

const options = new Command("dev:node")
  .description("Runs sample storage nodes against the local control plane until Ctrl-C.")
  .option("--count <n>", "how many nodes", positiveInteger, 3)
  .option("--first <n>", "the number of the first node; a number keeps its key and its chunks", positiveInteger, 1)
  .option("--capacity-gb <n>", "capacity that each node offers", positiveInteger, 10)
  .option("--region <name>", "region that each node declares")
  .option("--folder <path>", "where the nodes keep keys and chunks", `${homeFolder(process.env)}/nodes`)
  .parse()
  .opts<{ count: number; first: number; capacityGb: number; region?: string; folder: string }>();

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop.abort());

const children = Array.from({ length: options.count }, (_, index) => startNode(options.first + index));
await Promise.all(children.map((child) => once(child, "exit")));

function startNode(number: number): ChildProcess {
  const child = fork(new URL("./node-process.ts", import.meta.url), {
    env: {
      ...process.env,
      SAMPLE_NODE_NAME: `node-${number}`,
      SAMPLE_NODE_FOLDER: `${options.folder}/node-${number}`,
      SAMPLE_NODE_CAPACITY_GB: String(options.capacityGb),
      ...(options.region === undefined ? {} : { SAMPLE_NODE_REGION: options.region }),
    },
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    detached: true, // Ctrl-C reaches this process; it stops its nodes itself
  });
  child.once("exit", (code, signal) => {
    if (!stop.signal.aborted) process.stderr.write(`node-${number} ended: ${signal ?? `exit code ${code}`}\n`);
  });
  stop.signal.addEventListener("abort", () => child.kill("SIGTERM"));
  return child;
}
