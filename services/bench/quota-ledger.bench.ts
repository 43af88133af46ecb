import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { createContextValues, createHandlerContext } from "@connectrpc/connect";
import {
  GetQuotaRequestSchema,
  ListLedgerEntriesRequestSchema,
  UserQuotaService,
} from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { createOutbox } from "#platform/outbox/outbox.ts";
import { sql, uuidArray } from "#platform/postgres/sql.ts";
import { callerKey } from "#platform/rpc/caller.ts";
import { median } from "#platform/testing/median.ts";
import { systemClock as clock } from "#platform/time/clock.ts";
import { userQuotaHandlers } from "../user-quota/rpcs.ts";
import { createBenchKit } from "./event-bench-kit.ts";
import { measured } from "./measured.ts";

// GetQuota and ListLedgerEntries (a page of 100) beside 100,000 and beside 10 million ledger rows, each in a database of
// its own, in turns. Target: at most 1.5 times the time. `--rows=N` sets the larger number.

const entriesPerUser = 100;
const rowsWord = process.argv.find((word) => word.startsWith("--rows="));
const manyRows = Number(rowsWord?.slice("--rows=".length) ?? 10_000_000);
const rounds = 7;
const callsPerRound = 250;

await using stack = new AsyncDisposableStack();
const few = await ledgerOf(100_000);
const many = await ledgerOf(manyRows);

const targetOf = { getQuota: "ledgerGetQuota", listLedgerEntries: "ledgerList" } as const;
const reducedTo = manyRows < 10_000_000 ? `${manyRows.toLocaleString("en")} rows` : undefined;
for (const kind of ["getQuota", "listLedgerEntries"] as const) {
  const ratios: number[] = [];
  // The first round warms up code and caches.
  for (let round = 0; round <= rounds; round += 1) {
    const [small, large] = [[] as number[], [] as number[]];
    for (let call = 0; call < callsPerRound; call += 1) {
      small.push(await timed(() => few[kind]()));
      large.push(await timed(() => many[kind]()));
    }
    if (round === 0) continue;
    ratios.push(median(large) / median(small));
    console.log(
      `${kind}: ${median(small).toFixed(2)} ms beside 100,000 rows, ${median(large).toFixed(2)} ms beside ${manyRows.toLocaleString("en")}`,
    );
  }
  measured(targetOf[kind], ratios, reducedTo);
}

async function timed(call: () => Promise<unknown>): Promise<number> {
  const startedAt = clock.monotonicMs();
  await call();
  return clock.monotonicMs() - startedAt;
}

async function ledgerOf(rows: number) {
  const kit = stack.use(await createBenchKit());
  const pool = await kit.pool("user_quota");
  const users = Array.from({ length: rows / entriesPerUser }, () => randomUUID());
  for (let from = 0; from < users.length; from += 500) {
    await fill(pool, users.slice(from, from + 500));
    if (from % 20_000 === 0 && from > 0) console.log(`${(from * entriesPerUser).toLocaleString("en")} rows are there`);
  }
  // As autovacuum leaves it: otherwise whoever reads a page first marks its rows, and the page is written again.
  await (await kit.bare()).query("vacuum (analyze) user_quota.accounts, user_quota.ledger_entries");
  const handlers = userQuotaHandlers({
    ...{ pool, outbox: createOutbox("user_quota"), clock, log: kit.log, metrics: createMetrics("bench") },
    registry: { getUserUsage: () => Promise.reject(new Error("not needed")) },
    chunkConsumption: () => Promise.reject(new Error("not needed")),
    defaultQuotaBytes: 1n,
  });
  const context = createHandlerContext({
    ...{ service: UserQuotaService, method: UserQuotaService.method.getQuota, protocolName: "connect" },
    ...{ requestMethod: "POST", url: "http://localhost" },
    contextValues: createContextValues().set(callerKey, {
      kind: "service",
      clientId: "bench",
      scopes: new Set<string>(),
    }),
  });
  const anyUser = () => users[Math.floor(Math.random() * users.length)] ?? "";
  return {
    getQuota: async () => handlers.getQuota(create(GetQuotaRequestSchema, { userId: anyUser() }), context),
    listLedgerEntries: async () =>
      handlers.listLedgerEntries(create(ListLedgerEntriesRequestSchema, { userId: anyUser() }), context),
  };
}

/** Users with a full page of entries each, which lie apart from each other as those of parallel uploads do. */
async function fill(
  pool: Awaited<ReturnType<Awaited<ReturnType<typeof createBenchKit>>["pool"]>>,
  users: readonly string[],
): Promise<void> {
  await pool.query(sql.unsafe`
    insert into user_quota.accounts (user_id, storage_used_bytes, last_entry_id, quota_set_at, created_at)
    select user_id, ${entriesPerUser}, ${entriesPerUser}, now(), now() from unnest(${uuidArray(users)}) as new (user_id)`);
  await pool.query(sql.unsafe`
    insert into user_quota.ledger_entries (
      user_id, entry_id, kind, delta_bytes, used_before_bytes, used_after_bytes, storage_quota_bytes, is_anomaly,
      chunk_hash, generation, event_id, source_position, upload_id, actor_id, created_at
    )
    select user_id, number, 'charge', 1, number - 1, number, 10737418240, false,
      sha256(user_id::text::bytea), 1, user_id, number, user_id, 'node-registry', now()
    from unnest(${uuidArray(users)}) as new (user_id), generate_series(1, ${entriesPerUser}) as number
    order by number, user_id`);
}
