import { hash as argon2Hash, argon2id } from "argon2";
import { median } from "#platform/testing/median.ts";
import { from, hammer, startAuthProcess, startInfrastructure } from "./auth-bench-kit.ts";
import { benchPassword, insertUsers } from "./auth-bench-users.store.ts";
import { isShort, measured } from "./measured.ts";

// Refreshes per second of one core: how many the service answers for each second of CPU that it uses (the figure that
// Keycloak's sizing guide gives: 120), and how many for all the CPU that it and PostgreSQL use.

const sessions = 64;
const hash = (
  await argon2Hash(benchPassword, { type: argon2id, memoryCost: 7_168, timeCost: 1, parallelism: 1 })
).replace(/\$m=(\d+),p=(\d+),t=(\d+)/, "$m=$1,t=$3,p=$2");
await using infrastructure = await startInfrastructure();
await insertUsers(infrastructure.pool, { prefix: "refresh", first: 0, last: sessions - 1 }, hash);
await using bench = await startAuthProcess(infrastructure, { ARGON2_MEMORY_KIB: "7168", ARGON2_PASSES: "1" });

const newest: string[] = [];
for (let n = 0; n < sessions; n += 1) {
  const { tokens } = await bench.auth.login({ username: `refresh-${n}`, password: benchPassword }, from(n));
  newest.push(tokens?.refreshToken ?? "");
}
const free = newest.map((_, n) => n);
const refresh = async () => {
  const n = free.shift() ?? 0;
  const { tokens } = await bench.auth.refreshSession({ refreshToken: newest[n] ?? "" });
  newest[n] = tokens?.refreshToken ?? "";
  free.push(n);
};

await hammer(16, 2_000, refresh);
const perServiceCore: number[] = [];
const perCore: number[] = [];
for (let round = 0; round < (isShort ? 3 : 5); round += 1) {
  const before = bench.cpuMs();
  const startedMs = performance.now();
  const count = await hammer(16, isShort ? 1_500 : 4_000, refresh);
  const wallS = (performance.now() - startedMs) / 1_000;
  const after = bench.cpuMs();
  const serviceS = (after.service - before.service) / 1_000;
  const postgresS = (after.postgres - before.postgres) / 1_000;
  perServiceCore.push(count / serviceS);
  perCore.push(count / (serviceS + postgresS));
  console.log(
    `${(count / wallS).toFixed(0)}/s; CPU per refresh: service ${((serviceS / count) * 1e6).toFixed(0)} µs, ` +
      `PostgreSQL ${((postgresS / count) * 1e6).toFixed(0)} µs`,
  );
}
console.log(`per core of the service alone: ${median(perServiceCore).toFixed(0)}/s`);
measured("refreshRate", perCore);
