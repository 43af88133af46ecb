import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { createClient, createContextValues, createHandlerContext } from "@connectrpc/connect";
import { createConnectTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { z } from "zod";
import {
  ReserveStorageRequestSchema,
  UserQuotaService,
} from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { serveService } from "#platform/lifecycle/serve-service.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { createOutbox } from "#platform/outbox/outbox.ts";
import { sql, uuidArray } from "#platform/postgres/sql.ts";
import { callerKey } from "#platform/rpc/caller.ts";
import { implement } from "#platform/rpc/service.ts";
import { toDuration } from "#platform/rpc/time.ts";
import { createTestIssuer } from "#platform/testing/test-issuer.ts";
import { systemClock as clock } from "#platform/time/clock.ts";
import type { Deps } from "../user-quota/deps.ts";
import { userQuotaHandlers } from "../user-quota/rpcs.ts";
import { createBenchKit, perSecond } from "./event-bench-kit.ts";
import { isShort, measured } from "./measured.ts";
import { postgresCpuMicros } from "./postgres-cpu.ts";
import { profiled } from "./profiled.ts";

// ReserveStorage as a handler, and over the wire (Connect over h2c, access token, policy; client and server share this
// process, so each call pays for both), against the bare SQL of the same work through the same pool: a transaction that
// locks the account, inserts the reservation and adds it to the account. Targets: distinct users at least 0.7 of the bare SQL; one hot user within
// 2 times the time of the same lock plus two updates.

const users = 2_000;
const callsPerSlice = 400;
const slices = isShort ? 5 : 12;
const concurrency = 32;
const nothing = z.strictObject({});

await using kit = await createBenchKit();
const pool = await kit.pool("user_quota");
const userIds = Array.from({ length: users }, () => randomUUID());
await pool.query(sql.type(nothing)`
  insert into user_quota.accounts (user_id, storage_quota_bytes, quota_set_at, created_at)
  select user_id, ${2n ** 60n}, now(), now() from unnest(${uuidArray(userIds)}) as new (user_id)`);

const deps: Deps = {
  ...{ pool, outbox: createOutbox("user_quota"), clock, log: kit.log, metrics: createMetrics("bench") },
  registry: { getUserUsage: () => Promise.reject(new Error("not needed")) },
  chunkConsumption: () => Promise.reject(new Error("not needed")),
  defaultQuotaBytes: 1n,
};
const issuer = await createTestIssuer();
await using service = await serveService({
  ...{ name: "bench", log: kit.log, metrics: deps.metrics, verifier: issuer.verifier, readiness: {} },
  config: { HOST: "127.0.0.1", PORT: 0, OPS_PORT: 0 },
  services: [implement(UserQuotaService, userQuotaHandlers(deps))],
});
const baseUrl = `http://127.0.0.1:${service.addresses.port}`;
const sessionManager = new Http2SessionManager(baseUrl);
const client = createClient(UserQuotaService, createConnectTransport({ baseUrl, httpVersion: "2", sessionManager }));
const headers = { authorization: await issuer.service("gateway", ["quota.reserve"]) };
const ttl = toDuration(3_600_000);

const handlers = userQuotaHandlers(deps);
const context = createHandlerContext({
  ...{ service: UserQuotaService, method: UserQuotaService.method.reserveStorage, protocolName: "connect" },
  ...{ requestMethod: "POST", url: baseUrl },
  contextValues: createContextValues().set(callerKey, {
    kind: "service",
    clientId: "gateway",
    scopes: new Set<string>(),
  }),
});

function ask(userId: string) {
  return { userId, sizeBytes: 1n, idempotencyKey: randomUUID(), ttl };
}

const overTheWire = (userId: string) => client.reserveStorage(ask(userId), { headers });
const asHandler = async (userId: string) => {
  await handlers.reserveStorage(create(ReserveStorageRequestSchema, ask(userId)), context);
};
const spread = (index: number) => userIds[index % users] ?? "";
const hot = () => userIds[0] ?? "";

// Slices of all kinds take turns, so that whatever else the machine does meets all of them alike.
const kinds = [
  { name: "distinct users, bare SQL", call: bareSql, userOf: spread },
  { name: "distinct users, ReserveStorage's handler", call: asHandler, userOf: spread },
  { name: "distinct users, ReserveStorage over the wire", call: overTheWire, userOf: spread },
  { name: "one user, bare lock plus two updates", call: bareSql, userOf: hot },
  { name: "one user, ReserveStorage's handler", call: asHandler, userOf: hot },
  { name: "one user, ReserveStorage over the wire", call: overTheWire, userOf: hot },
];
const totals = kinds.map(() => ({ ms: 0, cpuMicros: 0, databaseMicros: 0, calls: 0 }));
const bySlice: number[][] = kinds.map(() => []);
for (let slice = 0; slice < slices; slice += 1) {
  for (const [index, { call, userOf }] of kinds.entries()) {
    const used = await run(call, userOf, slice * callsPerSlice);
    const total = totals[index];
    // The first slices warm up code and caches.
    if (total === undefined || slice < 2) continue;
    bySlice[index]?.push(used.ms);
    total.ms += used.ms;
    total.cpuMicros += used.cpuMicros;
    total.databaseMicros += used.databaseMicros;
    total.calls += callsPerSlice;
  }
}
const rates = totals.map(({ ms, calls }) => calls / ms);
for (const [index, { ms, cpuMicros, databaseMicros, calls }] of totals.entries()) {
  console.log(
    `${kinds[index]?.name}: ${perSecond(calls, ms)}; processor time each: Node ${(cpuMicros / calls).toFixed(0)} µs, ` +
      `PostgreSQL ${(databaseMicros / calls).toFixed(0)} µs`,
  );
}
const [bare = 0, handler = 0, wire = 0, bareHot = 0, handlerHot = 0, wireHot = 0] = rates;
console.log(`distinct users: handler ${ratio(handler, bare)}, over the wire ${ratio(wire, bare)} of the bare SQL`);
console.log(
  `one user: handler ${ratio(bareHot, handlerHot)}, over the wire ${ratio(bareHot, wireHot)} times the time of the bare SQL`,
);
// After the figures, since a profile slows what it shows.
if (process.env.BENCH_PROFILES !== undefined) {
  const handled = 10 * callsPerSlice;
  await profiled("ReserveStorage, handler", handled, async () => {
    for (let slice = 0; slice < 10; slice += 1) await run(asHandler, spread, slice * callsPerSlice);
  });
}
const [bareMs = [], handlerMs = [], , bareHotMs = [], handlerHotMs = []] = bySlice;
measured(
  "reserveDistinct",
  bareMs.map((ms, slice) => ms / (handlerMs[slice] ?? Number.NaN)),
);
measured(
  "reserveHot",
  handlerHotMs.map((ms, slice) => ms / (bareHotMs[slice] ?? Number.NaN)),
);
sessionManager.abort();

function ratio(a: number, b: number): string {
  return (a / b).toFixed(2);
}

/** What anybody would write by hand. */
async function bareSql(userId: string): Promise<void> {
  await pool.transaction(async (tx) => {
    await tx.query(sql.unsafe`select user_id from user_quota.accounts where user_id = ${userId} for update`);
    await tx.query(sql.unsafe`
      insert into user_quota.reservations
        (reservation_id, user_id, client_id, idempotency_key, size_bytes, held_bytes, created_at, expires_at)
      values (${randomUUID()}, ${userId}, 'gateway', ${randomUUID()}, 1, 1, now(), now() + interval '1 hour')`);
    await tx.query(sql.unsafe`
      update user_quota.accounts set storage_reserved_bytes = storage_reserved_bytes + 1
      where user_id = ${userId} and storage_used_bytes + storage_reserved_bytes + 1 <= storage_quota_bytes`);
  });
}

async function run(call: (userId: string) => Promise<unknown>, userOf: (index: number) => string, from: number) {
  let next = from;
  const databaseBefore = await postgresCpuMicros(pool);
  const cpuBefore = process.cpuUsage();
  const startedAt = clock.monotonicMs();
  const work = async () => {
    for (let index = next++; index < from + callsPerSlice; index = next++) await call(userOf(index));
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  const cpu = process.cpuUsage(cpuBefore);
  const ms = clock.monotonicMs() - startedAt;
  const databaseMicros = (await postgresCpuMicros(pool)) - databaseBefore;
  return { ms, cpuMicros: cpu.user + cpu.system, databaseMicros };
}
