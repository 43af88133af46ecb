import { hash as argon2Hash, argon2id } from "argon2";
import { median } from "#platform/testing/median.ts";
import { type AuthBench, from, startAuthProcess, startInfrastructure } from "./auth-bench-kit.ts";
import { analyze, benchPassword, insertSessions, insertUsers, makeAdmin } from "./auth-bench-users.store.ts";
import { measured } from "./measured.ts";

// Login, refresh and ListUsers with 10,000 users and with 1,000,000, each with a session. Hashes are as cheap as the
// bounds allow, so that it is the database that is compared.

const hash = (
  await argon2Hash(benchPassword, { type: argon2id, memoryCost: 7_168, timeCost: 1, parallelism: 1 })
).replace(/\$m=(\d+),p=(\d+),t=(\d+)/, "$m=$1,t=$3,p=$2");
const ROUNDS = 5;
const CALLS_PER_ROUND = 80;
const small = 10_000;
const large = Number(process.argv.find((word) => word.startsWith("--users="))?.split("=")[1] ?? 1_000_000);

interface Side extends AsyncDisposable {
  readonly users: number;
  readonly bench: AuthBench;
  readonly times: Record<"login" | "refresh" | "listUsers" | "search", number[]>;
}

/** A database with so many users, each with a session, and a service of its own. */
async function sideWith(users: number): Promise<Side> {
  const stack = new AsyncDisposableStack();
  const infrastructure = stack.use(await startInfrastructure());
  for (let at = 0; at < users; at += 100_000) {
    const last = Math.min(users, at + 100_000) - 1;
    await insertUsers(infrastructure.pool, { prefix: "scale", first: at, last }, hash);
    await insertSessions(infrastructure.pool);
  }
  await analyze(infrastructure.pool);
  await makeAdmin(infrastructure.pool, "scale-0");
  const bench = stack.use(await startAuthProcess(infrastructure, { ARGON2_MEMORY_KIB: "7168", ARGON2_PASSES: "1" }));
  const times = { login: [], refresh: [], listUsers: [], search: [] };
  return { users, bench, times, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

async function measure(side: Side, headers: Readonly<Record<string, string>>): Promise<void> {
  const { auth, admin } = side.bench;
  const timed = async <T>(what: keyof Side["times"], call: () => Promise<T>): Promise<T> => {
    const startedMs = performance.now();
    const answer = await call();
    side.times[what].push(performance.now() - startedMs);
    return answer;
  };
  const user = 1 + Math.floor(Math.random() * (side.users - 1));
  const request = { username: `scale-${user}`, password: benchPassword };
  const { tokens } = await timed("login", () => auth.login(request, from(user)));
  await timed("refresh", () => auth.refreshSession({ refreshToken: tokens?.refreshToken ?? "" }));
  await timed("listUsers", () => admin.listUsers({ pageSize: 50 }, { headers }));
  await timed("search", () => admin.listUsers({ query: `scale-${user}`, pageSize: 50 }, { headers }));
}

const startedMs = performance.now();
await using few = await sideWith(small);
await using many = await sideWith(large);
console.log(`databases filled in ${((performance.now() - startedMs) / 1_000).toFixed(0)} s`);
const sides = await Promise.all(
  [few, many].map(async (side) => {
    const { tokens } = await side.bench.auth.login({ username: "scale-0", password: benchPassword }, from(0));
    return { side, headers: { authorization: `Bearer ${tokens?.accessToken}` } };
  }),
);
// By turns, call for call: what the machine does besides, it does to both. The first round warms up.
const slowest: number[] = [];
for (let round = 0; round <= ROUNDS; round += 1) {
  for (const { side } of sides) for (const times of Object.values(side.times)) times.length = 0;
  for (let n = 0; n < CALLS_PER_ROUND; n += 1) for (const { side, headers } of sides) await measure(side, headers);
  if (round === 0) continue;
  const ratios: number[] = [];
  for (const what of ["login", "refresh", "listUsers", "search"] as const) {
    const [before, after] = [median(few.times[what]), median(many.times[what])];
    console.log(`round ${round}, ${what}: ${before.toFixed(2)} ms with ${small}, ${after.toFixed(2)} ms with ${large}`);
    ratios.push(after / before);
  }
  slowest.push(Math.max(...ratios));
}
measured("authScale", slowest, large < 1_000_000 ? `${large} users` : undefined);
