import { hash as argon2Hash, argon2id } from "argon2";
import { startRevocationFeed } from "#platform/identity/revocation-feed.worker.ts";
import { createRevocations } from "#platform/identity/revocations.ts";
import { createTokenVerifier } from "#platform/identity/token-verifier.ts";
import { createLogger } from "#platform/log/logger.ts";
import { connectNats } from "#platform/nats/connect.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { systemClock as clock } from "#platform/time/clock.ts";
import { from, startAuthProcess, startInfrastructure } from "./auth-bench-kit.ts";
import { benchPassword, insertUsers } from "./auth-bench-users.store.ts";
import { percentile } from "./event-bench-kit.ts";
import { isShort, measured } from "./measured.ts";

// From the call that revokes to the first refusal by a verifier in another process, which hears of it through the
// outbox, the relay and the USERS stream, as user-quota and node-registry do.

const ROUNDS = 3;
const perRound = isShort ? 34 : 100;
const rounds = ROUNDS * perRound;
const hash = (
  await argon2Hash(benchPassword, { type: argon2id, memoryCost: 7_168, timeCost: 1, parallelism: 1 })
).replace(/\$m=(\d+),p=(\d+),t=(\d+)/, "$m=$1,t=$3,p=$2");
await using infrastructure = await startInfrastructure();
await insertUsers(infrastructure.pool, { prefix: "revoked", first: 0, last: rounds - 1 }, hash);
await using bench = await startAuthProcess(infrastructure, { ARGON2_MEMORY_KIB: "7168", ARGON2_PASSES: "1" });
const log = createLogger("bench", "error");
await using nats = await connectNats({ url: infrastructure.nats.url("user-quota"), name: "verifier", log });
const revocations = createRevocations(clock);
const signal = new AbortController().signal;
await using _feed = await startRevocationFeed({
  nats,
  revocations,
  clock,
  log,
  metrics: createMetrics("bench"),
  signal,
});
const verifier = createTokenVerifier({
  jwks: `${bench.url}/.well-known/jwks.json`,
  issuer: "decentrastore",
  clock,
  log,
  isRevoked: revocations.isRevoked,
});

const delays: number[] = [];
for (let n = 0; n < rounds; n += 1) {
  const { tokens } = await bench.auth.login({ username: `revoked-${n}`, password: benchPassword }, from(n));
  const token = tokens?.accessToken ?? "";
  await verifier.verify(token);
  const startedMs = performance.now();
  const revoking = bench.auth.revokeAllSessions({}, { headers: { authorization: `Bearer ${token}` } });
  while (
    await verifier.verify(token).then(
      () => true,
      () => false,
    )
  )
    await clock.sleep(1);
  delays.push(performance.now() - startedMs);
  await revoking;
}
const sorted = delays.toSorted((a, b) => a - b);
console.log(`p50 ${percentile(sorted, 50).toFixed(1)} ms, max ${percentile(sorted, 100).toFixed(1)} ms`);
const p99s = Array.from({ length: ROUNDS }, (_, round) => {
  const own = delays.slice(round * perRound, (round + 1) * perRound);
  return percentile(
    own.toSorted((a, b) => a - b),
    99,
  );
});
measured("revocation", p99s);
