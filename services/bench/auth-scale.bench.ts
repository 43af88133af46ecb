import { hash as argon2Hash, argon2id } from "argon2";
import { type AuthBench, from, judge, median, startAuthProcess, startInfrastructure } from "./auth-bench-kit.ts";
import { analyze, benchPassword, insertSessions, insertUsers, makeAdmin } from "./auth-bench-users.store.ts";

// Login, refresh and ListUsers with 10,000 users and with 1,000,000, each with a session. Hashes are as cheap as the
// bounds allow, so that it is the database that is compared.

const hash = (
  await argon2Hash(benchPassword, { type: argon2id, memoryCost: 7_168, timeCost: 1, parallelism: 1 })
).replace(/\$m=(\d+),p=(\d+),t=(\d+)/, "$m=$1,t=$3,p=$2");
const small = 10_000;
const large = Number(process.argv.find((word) => word.startsWith("--users="))?.split("=")[1] ?? 1_000_000);
await using infrastructure = await startInfrastructure();
await using bench = await startAuthProcess(infrastructure, { ARGON2_MEMORY_KIB: "7168", ARGON2_PASSES: "1" });

async function grow(first: number, last: number): Promise<void> {
  for (let at = first; at < last; at += 100_000) {
    await insertUsers(bench.pool, { prefix: "scale", first: at, last: Math.min(last, at + 100_000) - 1 }, hash);
    await insertSessions(bench.pool);
  }
  await analyze(bench.pool);
}

interface Times {
  readonly login: number;
  readonly refresh: number;
  readonly listUsers: number;
  readonly search: number;
}

async function measure(users: number, on: AuthBench, round: number): Promise<Times> {
  const times: Record<keyof Times, number[]> = { login: [], refresh: [], listUsers: [], search: [] };
  const timed = async <T>(what: keyof Times, call: () => Promise<T>): Promise<T> => {
    const startedMs = performance.now();
    const answer = await call();
    times[what].push(performance.now() - startedMs);
    return answer;
  };
  const { tokens: admin } = await on.auth.login({ username: "scale-0", password: benchPassword }, from(round));
  const headers = { authorization: `Bearer ${admin?.accessToken}` };
  for (let n = 0; n < 150; n += 1) {
    const user = 1 + Math.floor(Math.random() * (users - 1));
    const request = { username: `scale-${user}`, password: benchPassword };
    const { tokens } = await timed("login", () => on.auth.login(request, from(user)));
    await timed("refresh", () => on.auth.refreshSession({ refreshToken: tokens?.refreshToken ?? "" }));
    await timed("listUsers", () => on.admin.listUsers({ pageSize: 50 }, { headers }));
    await timed("search", () => on.admin.listUsers({ query: `scale-${user}`, pageSize: 50 }, { headers }));
  }
  const { login, refresh, listUsers, search } = times;
  return { login: median(login), refresh: median(refresh), listUsers: median(listUsers), search: median(search) };
}

await grow(0, small);
await makeAdmin(bench.pool, "scale-0");
await measure(small, bench, 0);
const before = await measure(small, bench, 1);
const startedMs = performance.now();
await grow(small, large);
console.log(`${large} users inserted in ${((performance.now() - startedMs) / 1_000).toFixed(0)} s`);
await measure(large, bench, 2);
const after = await measure(large, bench, 3);
for (const what of ["login", "refresh", "listUsers", "search"] as const) {
  console.log(`${what}: ${before[what].toFixed(2)} ms with ${small}, ${after[what].toFixed(2)} ms with ${large}`);
  judge(`${what}, ${large} users to ${small}`, after[what] / before[what], 1.5, "at most");
}
