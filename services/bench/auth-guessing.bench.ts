import { Code, ConnectError } from "@connectrpc/connect";
import { hash as argon2Hash, argon2id } from "argon2";
import { from, startAuthProcess, startInfrastructure, startObserver } from "./auth-bench-kit.ts";
import { benchPassword, insertUsers } from "./auth-bench-users.store.ts";
import { percentile } from "./event-bench-kit.ts";
import { measured } from "./measured.ts";

// 10,000 guesses at once on one account, each from an address of its own: how many were hashed, what the service's
// memory did, and whether others noticed.

const guesses = 10_000;
const parameters = { type: argon2id, memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const;
const hash = (await argon2Hash(benchPassword, parameters)).replace(/\$m=(\d+),p=(\d+),t=(\d+)/, "$m=$1,t=$3,p=$2");
await using infrastructure = await startInfrastructure();
await insertUsers(infrastructure.pool, { prefix: "guessed", first: 0, last: 200 }, hash);
await using bench = await startAuthProcess(infrastructure);
const { tokens } = await bench.auth.login({ username: "guessed-0", password: benchPassword }, from(0));
const rssBefore = bench.rssMiB();

const connections = Array.from({ length: 40 }, () => bench.connect());
const outcomes = new Map<string, number>();
const stopObserver = await startObserver(bench, tokens?.accessToken ?? "");
const startedMs = performance.now();
await Promise.all(
  Array.from({ length: guesses }, async (_, n) => {
    const client = connections[n % connections.length];
    const outcome = await client?.login({ username: "guessed-1", password: `guess ${n}` }, from(n)).then(
      () => "succeeded",
      (error: unknown) => Code[ConnectError.from(error).code],
    );
    outcomes.set(outcome ?? "", (outcomes.get(outcome ?? "") ?? 0) + 1);
  }),
);
const seconds = (performance.now() - startedMs) / 1_000;
const sorted = await stopObserver();
console.log(`${seconds.toFixed(1)} s: ${[...outcomes].map(([name, count]) => `${name} ${count}`).join(", ")}`);
// Ten at once, then one for each wait of 1, 2, 4 ... seconds that passes meanwhile.
const allowed = 10 + Math.ceil(Math.log2(seconds + 1)) + 1;
measured("guesses", (outcomes.get("Unauthenticated") ?? 0) / allowed);
console.log(`memory: ${rssBefore.toFixed(0)} MiB before, ${bench.rssMiB().toFixed(0)} MiB after`);
console.log(
  `GetCurrentUser meanwhile: p50 ${percentile(sorted, 50).toFixed(1)} ms, p99 ${percentile(sorted, 99).toFixed(1)} ms`,
);
const { user } = await bench.auth.login({ username: "guessed-2", password: benchPassword }, from(70_000));
console.log(`another user signs in right after: ${user?.username === "guessed-2"}`);
