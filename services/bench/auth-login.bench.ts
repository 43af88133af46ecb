import { availableParallelism } from "node:os";
import { hash as argon2Hash, argon2id, verify as argon2Verify } from "argon2";
import { median } from "#platform/testing/median.ts";
import { from, hammer, startAuthProcess, startInfrastructure, startObserver } from "./auth-bench-kit.ts";
import { benchPassword, insertUsers } from "./auth-bench-users.store.ts";
import { percentile } from "./event-bench-kit.ts";
import { isShort, measured } from "./measured.ts";

// Logins per second against bare argon2 verifications at the same concurrency, and how long GetCurrentUser takes while
// that runs. Rounds of both alternate, because the machine is shared.

const permits = Math.max(1, availableParallelism() - 1);
const parameters = { type: argon2id, memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const;
const hash = (await argon2Hash(benchPassword, parameters)).replace(/\$m=(\d+),p=(\d+),t=(\d+)/, "$m=$1,t=$3,p=$2");
await using infrastructure = await startInfrastructure();
await insertUsers(infrastructure.pool, { prefix: "login", first: 0, last: 1_999 }, hash);
await using bench = await startAuthProcess(infrastructure);

const login = (n: number) =>
  bench.auth.login({ username: `login-${n % 2_000}`, password: benchPassword }, from(n % 5_000));
const { tokens } = await login(0);

const ratios: number[] = [];
const best = { bare: 0, logins: 0 };
const p99s: number[] = [];
const busy: number[] = [];
/** A permit that hashes all the time is what bare verification is: this figure does not suffer from a busy machine. */
async function hashSeconds(): Promise<number> {
  const text = await (await fetch(`${bench.opsUrl}/metrics`)).text();
  return Number(/auth_hash_seconds_sum\S* ([\d.e+-]+)/.exec(text)?.[1] ?? 0);
}
const roundMs = isShort ? 1_600 : 2_500;
for (let round = 0; round < (isShort ? 3 : 8); round += 1) {
  const bare = await hammer(permits, roundMs, () => argon2Verify(hash, benchPassword));
  const stopObserver = await startObserver(bench, tokens?.accessToken ?? "");
  const busyBefore = await hashSeconds();
  const startedMs = performance.now();
  const logins = await hammer(8 * permits, roundMs, login);
  const wallS = (performance.now() - startedMs) / 1_000;
  busy.push(((await hashSeconds()) - busyBefore) / wallS / permits);
  p99s.push(percentile(await stopObserver(), 99));
  ratios.push(logins / bare);
  best.bare = Math.max(best.bare, bare);
  best.logins = Math.max(best.logins, logins);
  const perS = (count: number) => `${((count / roundMs) * 1_000).toFixed(1)}/s`;
  console.log(`bare ${perS(bare)}, logins ${perS(logins)}, ratio ${(logins / bare).toFixed(3)}`);
}
console.log(`permits ${permits}, memory of the service ${bench.rssMiB().toFixed(0)} MiB`);
measured("loginRate", ratios);
console.log(`best rounds of both: ${(best.logins / best.bare).toFixed(3)}`);
console.log(`share of the time that each permit hashes, median: ${median(busy).toFixed(3)}`);
measured("loginBystander", p99s);
