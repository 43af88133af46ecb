import { hash as argon2Hash, argon2id } from "argon2";
import bcrypt from "bcrypt";
import { median } from "#platform/testing/median.ts";
import { type AuthBench, from, startAuthProcess, startInfrastructure } from "./auth-bench-kit.ts";
import { insertUsers } from "./auth-bench-users.store.ts";
import { measured } from "./measured.ts";

// Whether the time of a failed login tells anything: seven classes of failure, asked in random order, compared pairwise
// by the two-sample Kolmogorov-Smirnov test. The same test without LOGIN_FAILURE_STEP has to find the differences,
// otherwise it proves nothing. Each failed login takes a step of 400 ms, so that the time is known beforehand; the verdict
// is that of all samples together, because one large sample finds smaller differences than several small ones.

const STEP_MS = 400;
const CALLERS = 3;
const LONGEST_MS = 480_000;
const samplesPerRound = Number(process.argv.find((word) => word.startsWith("--samples="))?.split("=")[1] ?? 100);
const rounds = Number(process.argv.find((word) => word.startsWith("--rounds="))?.split("=")[1] ?? 3);
const parameters = { type: argon2id, memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const;
const own = (await argon2Hash("right", parameters)).replace(/\$m=(\d+),p=(\d+),t=(\d+)/, "$m=$1,t=$3,p=$2");
await using infrastructure = await startInfrastructure();
const names = { first: 0, last: 4_000 };
await insertUsers(infrastructure.pool, { prefix: "own", ...names }, own);
await insertUsers(infrastructure.pool, { prefix: "off", ...names }, own, false);
await insertUsers(infrastructure.pool, { prefix: "bcrypt10", ...names }, await bcrypt.hash("right", 10));
await insertUsers(infrastructure.pool, { prefix: "bcrypt12", ...names }, await bcrypt.hash("right", 12));

const classes: Readonly<Record<string, (n: number) => { username: string; password: string }>> = {
  unknown: (n) => ({ username: `nobody-${n}`, password: "wrong" }),
  "wrong password": (n) => ({ username: `own-${n}`, password: "wrong" }),
  "empty password": (n) => ({ username: `own-${n + 1_000}`, password: "" }),
  "the same name again (warm)": (n) => ({ username: `own-${3_000 + Math.floor(n / 8)}`, password: "wrong" }),
  disabled: (n) => ({ username: `off-${n}`, password: "right" }),
  "imported, bcrypt 10": (n) => ({ username: `bcrypt10-${n}`, password: "wrong" }),
  "imported, bcrypt 12": (n) => ({ username: `bcrypt12-${n}`, password: "wrong" }),
};

async function measure(bench: AuthBench, count: number, offset: number): Promise<Map<string, number[]>> {
  const times = new Map<string, number[]>(Object.keys(classes).map((name) => [name, []]));
  const calls = Object.entries(classes).flatMap(([name, request]) =>
    Array.from({ length: count }, (_, n) => ({ name, request: request(offset + n) })),
  );
  const shuffled = calls.map((call) => ({ call, at: Math.random() })).toSorted((a, b) => a.at - b.at);
  let next = 0;
  const caller = async () => {
    for (let at = next++; at < shuffled.length; at = next++) {
      const call = shuffled[at]?.call;
      if (call === undefined) return;
      const startedMs = performance.now();
      await bench.auth.login(call.request, from(offset * 10 + at)).catch((error: unknown) => {
        if (!/name or the password/.test(String(error))) throw error;
      });
      times.get(call.name)?.push(performance.now() - startedMs);
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
  return times;
}

/** The greatest distance of the two empirical distributions. */
function distance(a: readonly number[], b: readonly number[]): number {
  const all = [...a, ...b].toSorted((x, y) => x - y);
  const share = (list: readonly number[], limit: number) => list.filter((value) => value <= limit).length / list.length;
  return Math.max(...all.map((limit) => Math.abs(share(a, limit) - share(b, limit))));
}

function worst(times: Map<string, number[]>): { readonly pair: string; readonly d: number } {
  const entries = [...times];
  const pairs = entries.flatMap(([a, x], n) =>
    entries.slice(n + 1).map(([b, y]) => ({ pair: `${a} / ${b}`, d: distance(x, y) })),
  );
  return pairs.toSorted((a, b) => b.d - a.d)[0] ?? { pair: "", d: 0 };
}

function report(times: Map<string, number[]>): void {
  for (const [name, values] of times) {
    const steps = new Map<number, number>();
    const stepOf = (value: number) => Math.round(value / STEP_MS);
    for (const value of values) steps.set(stepOf(value), (steps.get(stepOf(value)) ?? 0) + 1);
    const counts = [...steps].toSorted(([a], [b]) => a - b).map(([step, count]) => `${step}x${count}`);
    console.log(`  ${name.padEnd(28)} median ${median(values).toFixed(1)} ms, answers per step ${counts.join(" ")}`);
  }
}

/** Two samples of one distribution differ more than this in one of a thousand comparisons of all 21 pairs. */
const critical = (n: number) => Math.sqrt(-Math.log(0.001 / 21 / 2) / 2) * Math.sqrt(2 / n);

const roundMs = (samplesPerRound * Object.keys(classes).length * STEP_MS) / CALLERS;
console.log(
  `${rounds} rounds of ${samplesPerRound} samples in each of ${Object.keys(classes).length} classes: about ` +
    `${((30_000 + rounds * roundMs * 1.1) / 60_000).toFixed(1)} minutes, and no round begins that could end after ${LONGEST_MS / 60_000}`,
);
const startedAt = performance.now();
{
  await using bench = await startAuthProcess(infrastructure, { LOGIN_FAILURE_STEP: "0", HASH_CONCURRENCY: "2" });
  const open = await measure(bench, 40, 2_000);
  console.log("without the step:");
  report(open);
  const found = worst(open);
  if (found.d < critical(40)) throw new Error("without the step the difference must show: the comparison is blind");
  console.log(
    `seen without the step: ${found.pair}, ${(found.d / critical(40)).toFixed(2)} times the critical distance`,
  );
}

await using bench = await startAuthProcess(infrastructure, {
  LOGIN_FAILURE_STEP: `${STEP_MS}ms`,
  HASH_CONCURRENCY: "2",
});
await measure(bench, 1, 2_900); // the first calls of a process are slower
const all = new Map<string, number[]>(Object.keys(classes).map((name) => [name, []]));
let longestMs = roundMs;
for (let round = 0; round < rounds; round += 1) {
  const roundStartedAt = performance.now();
  if (round > 0 && roundStartedAt - startedAt + longestMs > LONGEST_MS) {
    console.log(`the machine is too busy for more than ${round} rounds`);
    break;
  }
  const times = await measure(bench, samplesPerRound, round * samplesPerRound);
  for (const [name, values] of times) all.get(name)?.push(...values);
  longestMs = Math.max(longestMs, performance.now() - roundStartedAt);
  const { pair, d } = worst(times);
  console.log(`round ${round + 1}: ${(d / critical(samplesPerRound)).toFixed(2)} times the critical distance, ${pair}`);
}
const samples = all.values().next().value?.length ?? 0;
console.log(`with the step, ${samples} samples per class:`);
report(all);
const left = worst(all);
console.log(`greatest distance between ${left.pair}`);
measured("loginTiming", left.d / critical(samples), samples < 150 ? `${samples} samples per class` : undefined);
