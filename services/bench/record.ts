import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Measured } from "./measured.ts";
import { tableOf } from "./result-table.ts";
import { targets } from "./targets.ts";

/** What a run leaves: when, in which form, on what, and its figures. */
export interface BenchRun {
  readonly at: string;
  readonly form: string;
  readonly machine: readonly string[];
  readonly measured: readonly Measured[];
}

interface Recorded extends Omit<BenchRun, "measured"> {
  readonly measured: Measured;
}

const recordFile = join(import.meta.dirname, "record.json");
const page = join(import.meta.dirname, "../../BENCHMARKS.md");

/** Puts the figures of a run in the place of those that earlier runs left for the same targets, and writes the page. */
export async function recordRun({ measured, ...run }: BenchRun): Promise<void> {
  const earlier: Recorded[] = JSON.parse(await readFile(recordFile, "utf8"));
  const replaced = new Set(measured.map(({ name }) => name));
  const records = [
    ...earlier.filter(({ measured: { name } }) => !replaced.has(name) && name in targets),
    ...measured.map((one) => ({ ...run, measured: one })),
  ].sort((a, b) => a.measured.name.localeCompare(b.measured.name));
  await writeFile(recordFile, `${JSON.stringify(records, null, 2)}\n`);
  await writeFile(page, pageOf(records));
}

export function pageOf(records: readonly Recorded[]): string {
  const machines = [...new Set(records.map(({ machine }) => machine.join("; ")))];
  const runs = new Map<string, Recorded>(records.map((record) => [record.measured.name, record]));
  const names = Object.keys(targets);
  const rows = tableOf(records.map(({ measured }) => measured)).map((row, index) => {
    const run = runs.get(names[index] ?? "");
    const at = run?.at.slice(0, 16).replace("T", " ") ?? "";
    const on = run === undefined ? "" : machines.indexOf(run.machine.join("; ")) + 1;
    const { target, baseline, limit, measured, verdict, command } = row;
    return `| ${target} | ${baseline} | ${limit} | ${measured} | ${verdict} | \`${command}\` | ${at} | ${on} |`;
  });
  return `# Benchmarks

Every speed and memory target, with the last recorded run. \`npm run bench -- --long --record\` measures all of them and
writes this page, \`npm run bench -- NAME --record\` one; \`npm run bench\` is the short form for everyone. A ratio (×) is
taken within one run against the named baseline; figures are medians with the lowest and highest round. Client, service,
PostgreSQL and NATS share the machine. Times are UTC. A figure against "this machine" is absolute: it holds for the machine
that the last column names, and a slower one may miss it. The short form judges only what all of its rounds, three at
least, agree on; it says "not judged" otherwise.

${machines.map((machine, index) => `${index + 1}. ${machine}`).join("\n")}

| Target | Against | Limit | Measured | Verdict | Command | At | On |
|---|---|---|---|---|---|---|---|
${rows.join("\n")}
`;
}
