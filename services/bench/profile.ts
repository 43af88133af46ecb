import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { printTable } from "../../db/table.ts";

const profileSchema = z.object({
  nodes: z.array(
    z.object({ id: z.int(), callFrame: z.object({ functionName: z.string(), url: z.string(), lineNumber: z.int() }) }),
  ),
  samples: z.array(z.int()),
  timeDeltas: z.array(z.number()),
  /** What `profiled` divides by. */
  operations: z.number().optional(),
});
const notWork = new Set(["(idle)", "(program)", "(root)"]);
const LONGEST = 15;

/** Where the processor time of each profile in a folder went: by package or folder, and by function. */
export async function printProfiles(folder: string): Promise<void> {
  for (const file of (await readdir(folder)).filter((name) => name.endsWith(".cpuprofile")).sort()) {
    const profile = profileSchema.parse(JSON.parse(await readFile(join(folder, file), "utf8")));
    const { nodes, samples, timeDeltas, operations } = profile;
    const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
    const [places, functions] = [new Map<string, number>(), new Map<string, number>()];
    let total = 0;
    for (const [index, sample] of samples.entries()) {
      const frame = frames.get(sample);
      const micros = timeDeltas[index] ?? 0;
      if (frame === undefined || notWork.has(frame.functionName)) continue;
      total += micros;
      const place = placeOf(frame.url, frame.functionName);
      add(places, place, micros);
      add(functions, `${frame.functionName || "(anonymous)"} ${place}:${frame.lineNumber + 1}`, micros);
    }
    console.log(`\n${file}: ${(total / 1e6).toFixed(1)} s of work`);
    printTable(shares("where", places, { total, operations }));
    printTable(shares("function", functions, { total, operations }));
  }
}

function placeOf(url: string, functionName: string): string {
  if (url === "") return functionName.startsWith("(") ? functionName : "native";
  const [, inPackage] = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url) ?? [];
  const [, own] = /\/((?:services|proto|db)\/.+)$/.exec(url) ?? [];
  return inPackage ?? own ?? url;
}

function add(sums: Map<string, number>, name: string, micros: number): void {
  sums.set(name, (sums.get(name) ?? 0) + micros);
}

function shares(
  heading: string,
  sums: ReadonlyMap<string, number>,
  { total, operations }: { total: number; operations: number | undefined },
) {
  return [...sums]
    .sort(([, a], [, b]) => b - a)
    .slice(0, LONGEST)
    .map(([name, micros]) => ({
      [heading]: name,
      "% of work": Number(((100 * micros) / total).toFixed(1)),
      ...(operations === undefined ? {} : { "µs each": Number((micros / operations).toFixed(1)) }),
    }));
}
