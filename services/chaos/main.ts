import { randomInt } from "node:crypto";
import { Command, InvalidArgumentError } from "commander";
import { failoverDrill } from "./failover.ts";
import { isHeld, reportOf } from "./report.ts";
import { removeTraces, runChaos } from "./run.ts";
import { soakWatch } from "./soak.ts";

// `npm run chaos`: a whole system under load and faults; the exit code is the verdict.

const positive = (text: string): number => {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError("must be a number above 0");
  return value;
};

const program = new Command("npm run chaos --")
  .description("Runs the system under load, breaks what a seed says, and judges it by what its clients were told.")
  .option(
    "--seed <number>",
    "decides which faults come when and what each client of the load chooses; not how long the system takes to answer, nor keys and pauses before repeats, so a run is repeated alike and not exactly; a random one otherwise",
    positive,
  )
  .option(
    "--minutes <number>",
    "how long faults come; starting and coming to rest take their time besides",
    positive,
    2,
  )
  .option("--nodes <number>", "storage nodes", positive, 12)
  .option("--gateways <number>", "upload gateways", positive, 2)
  .option("--failover", "instead of the seed's faults: brokers and the primary database fail, others take over", false)
  .option(
    "--soak",
    "no faults: half of the load that an otherwise idle machine keeps up with; memory, handles and latency have to stay flat",
    false,
  )
  .option("--keep", "keep data and logs though everything held", false);
const options = program.parse().opts<{
  seed?: number;
  minutes: number;
  nodes: number;
  gateways: number;
  failover: boolean;
  soak: boolean;
  keep: boolean;
}>();

const seed = options.seed ?? randomInt(1, 2 ** 31);
const startedAt = performance.now();
const say = (line: string) => {
  process.stdout.write(`[${((performance.now() - startedAt) / 1000).toFixed(1).padStart(6)} s] ${line}\n`);
};
say(
  `npm run chaos -- --seed ${seed} --minutes ${options.minutes}${options.failover ? " --failover" : options.soak ? " --soak" : ""}`,
);

const { nodes, gateways } = options;
const drill = options.failover ? failoverDrill(say) : options.soak ? soakWatch(say, gateways) : {};
const result = await runChaos({ seed, durationMs: options.minutes * 60_000, nodes, gateways, say, ...drill });
process.stdout.write(`\n${reportOf(result)}\n\n`);
if (isHeld(result)) say(`everything held (seed ${seed})`);
else say(`BROKEN: run it again with --seed ${seed}; logs and data are in ${result.folder}`);
if (isHeld(result) && !options.keep) await removeTraces(result);
process.exitCode = isHeld(result) ? 0 : 1;
