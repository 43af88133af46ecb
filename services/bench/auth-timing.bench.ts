import { hash as argon2Hash, argon2id } from "argon2";
import bcrypt from "bcrypt";
import { median } from "#platform/testing/median.ts";
import { from, startAuthProcess, startInfrastructure } from "./auth-bench-kit.ts";
import { insertUsers } from "./auth-bench-users.store.ts";
import { measured } from "./measured.ts";

// Whether the time of a failed login tells anything: seven classes of failure, asked in random order, compared pairwise
// by the two-sample Kolmogorov-Smirnov test. The same test without LOGIN_FAILURE_STEP has to find the differences,
// otherwise it proves nothing.

const samples = Number(process.argv.find((word) => word.startsWith("--samples="))?.split("=")[1] ?? 150);
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

async function measure(step: string, count: number, offset: number): Promise<Map<string, number[]>> {
  await using bench = await startAuthProcess(infrastructure, { LOGIN_FAILURE_STEP: step, HASH_CONCURRENCY: "2" });
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
      await bench.auth.login(call.request, from(at)).catch((error: unknown) => {
        if (!/name or the password/.test(String(error))) throw error;
      });
      times.get(call.name)?.push(performance.now() - startedMs);
    }
  };
  await Promise.all([1, 2, 3].map(caller));
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
    for (const value of values) steps.set(Math.round(value / 400), (steps.get(Math.round(value / 400)) ?? 0) + 1);
    const counts = [...steps].toSorted(([a], [b]) => a - b).map(([step, count]) => `${step}x${count}`);
    console.log(`  ${name.padEnd(28)} median ${median(values).toFixed(1)} ms, answers per step ${counts.join(" ")}`);
  }
}

/** Two samples of one distribution differ more than this in one of a thousand comparisons of all 21 pairs. */
const critical = (n: number) => Math.sqrt(-Math.log(0.001 / 21 / 2) / 2) * Math.sqrt(2 / n);

const open = await measure("0", 40, 2_000);
console.log("without the step:");
report(open);
const found = worst(open);
if (found.d < critical(40)) throw new Error("without the step the difference must show: the comparison is blind");
console.log(`seen without the step: ${found.pair}, ${(found.d / critical(40)).toFixed(2)} times the critical distance`);

const closed = await measure("400ms", samples, 0);
console.log(`with the step, ${samples} samples per class:`);
report(closed);
const left = worst(closed);
console.log(`greatest distance between ${left.pair}`);
measured("loginTiming", left.d / critical(samples));
