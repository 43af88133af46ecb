import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { printTable } from "../../db/table.ts";
import { describeMachine } from "./machine.ts";
import { type Measured, verdictOf } from "./measured.ts";
import { printProfiles } from "./profile.ts";
import { recordRun } from "./record.ts";
import { tableOf } from "./result-table.ts";
import { type TargetName, targets } from "./targets.ts";

// `npm run bench` runs the short form of every benchmark that has one, in about three minutes; `--long` the full form of
// all of them. Names choose (`npm run bench -- heartbeat`), in full form unless `--short` stands beside them. `--json FILE`
// writes the figures, and `--json` alone puts them on standard output and all else on standard error (npm's own lines go
// with `npm run -s`). `--record` puts them into BENCHMARKS.md, `--profile` prints where the processor time went. Every
// benchmark is a file of its own that says what it measures and against which baseline of the same run: the machine may
// be shared, so ratios tell more than rates.

const suffix = ".bench.ts";
/** Those that need big tables, ten thousand connections or a second server, and mean nothing without. */
const longOnly = new Set([
  ...["auth-guessing", "auth-scale", "auth-timing", "chunks-scale", "connected-nodes", "quota-ledger", "directory"],
  ...["consumer", "event-latency", "import-sqlite", "rpc", "relay", "proofs", "hostile"],
]);

/** Those whose profiles show the measured work alone. */
const profilesItself = new Set(["quota-consume", "quota-reserve", "relay"]);

const STANDARD_OUTPUT = "-";

const { values: options, positionals: names } = parseArgs({
  args: process.argv
    .slice(2)
    .map((word, index, words) =>
      word === "--json" && !words[index + 1]?.endsWith(".json") ? `--json=${STANDARD_OUTPUT}` : word,
    ),
  allowPositionals: true,
  options: {
    long: { type: "boolean", default: false },
    short: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
    profile: { type: "boolean", default: false },
    json: { type: "string" },
  },
});
const isPiped = options.json === STANDARD_OUTPUT;
const report = isPiped ? process.stderr : process.stdout;
if (isPiped) console.log = console.error; // tables and profiles
const isShort = options.short || (names.length === 0 && !options.long);

const all = (await readdir(import.meta.dirname))
  .filter((file) => file.endsWith(suffix))
  .map((file) => file.slice(0, -suffix.length))
  .sort();
const chosen = all.filter((benchmark) =>
  names.length === 0 ? !(isShort && longOnly.has(benchmark)) : names.some((name) => benchmark.startsWith(name)),
);

if (chosen.length === 0) {
  process.stderr.write(`no such benchmark; there are: ${all.join(", ")}\n`);
  process.exitCode = 2;
} else {
  const folder = await mkdtemp(join(tmpdir(), "decentrastore-bench-"));
  try {
    await runChosen(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function runChosen(folder: string): Promise<void> {
  const resultFile = join(folder, "results.ndjson");
  const machine = await describeMachine();
  report.write(`${machine.join("\n")}\n`);
  const leftOut = all.filter((benchmark) => isShort && names.length === 0 && !chosen.includes(benchmark));
  if (leftOut.length > 0) report.write(`left to the long form: ${leftOut.join(", ")}\n`);
  const failed: string[] = [];
  const started = performance.now();
  for (const benchmark of chosen) {
    report.write(`\n== ${benchmark}\n`);
    const from = performance.now();
    const code = await runOne(benchmark, resultFile, options.profile ? folder : undefined);
    if (code !== 0) failed.push(`${benchmark} (${code})`);
    report.write(`(${secondsSince(from)} s)\n`);
  }
  if (options.profile) await printProfiles(folder);
  const measured = await resultsIn(resultFile);
  const rows = tableOf(measured).filter(
    ({ command }) => names.length === 0 || chosen.some((one) => command.endsWith(` ${one}`)),
  );
  report.write("\n");
  printTable(rows.map(({ command: _, baseline: __, ...row }) => ({ ...row })));
  const run = {
    at: Temporal.Now.instant().toString({ smallestUnit: "second" }),
    form: isShort ? "short" : "long",
    machine,
  };
  const judged = measured.map((one) => ({ ...one, verdict: verdictOf(one) }));
  const json = `${JSON.stringify({ ...run, measured: judged, failed }, null, 2)}\n`;
  if (isPiped) process.stdout.write(json);
  else if (options.json !== undefined) await writeFile(options.json, json);
  if (options.record) await recordRun({ ...run, measured });
  const unjudged = judged.filter(({ verdict }) => verdict === "not judged" || verdict === "reduced");
  const left = unjudged.length === 0 ? "" : `; not judged: ${unjudged.length}, which the long form does`;
  if (failed.length === 0) report.write(`\nevery target that was judged was met on this machine${left}\n`);
  else report.write(`\nmissed or failed on this machine: ${failed.join(", ")}${left}\n`);
  report.write(`${secondsSince(started)} s in all\n`);
  process.exitCode = failed.length === 0 ? 0 : 1;
}

function secondsSince(from: number): string {
  return ((performance.now() - from) / 1_000).toFixed(1);
}

function runOne(benchmark: string, resultFile: string, profiles: string | undefined): Promise<number | null> {
  const form = isShort ? "short" : "long";
  const profiling = profiles === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profiles}`];
  // Those that run a service as a process of its own hand it these options.
  const forProfiles =
    profiles === undefined ? {} : { BENCH_NODE_OPTIONS: profiling.join(" "), BENCH_PROFILES: profiles };
  const env = { ...process.env, BENCH_RESULTS: resultFile, BENCH_FORM: form, ...forProfiles };
  const nodeOptions = profilesItself.has(benchmark) ? [] : profiling;
  return new Promise((resolve, reject) => {
    // The option with which the services run too.
    spawn(
      process.execPath,
      ["--max-semi-space-size=64", ...nodeOptions, join(import.meta.dirname, `${benchmark}${suffix}`)],
      {
        stdio: ["inherit", isPiped ? process.stderr.fd : "inherit", "inherit"],
        env,
      },
    )
      .once("error", reject)
      .once("exit", resolve);
  });
}

async function resultsIn(file: string): Promise<Measured[]> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  return text.split("\n").filter(Boolean).map(parseLine);
}

function parseLine(line: string): Measured {
  const parsed: Measured & { name: string } = JSON.parse(line);
  if (!isTargetName(parsed.name)) throw new Error(`a benchmark reported ${parsed.name}, which is no target`);
  return parsed;
}

function isTargetName(name: string): name is TargetName {
  return name in targets;
}
