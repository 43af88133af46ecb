import { z } from "zod";
import { startConsumer } from "../inbox/consumer.worker.ts";
import { createLogger } from "../log/logger.ts";
import { connectNats } from "../nats/connect.ts";
import { createMetrics } from "../ops/metrics.ts";
import { openPool } from "../postgres/pool.ts";
import { sql, textArray } from "../postgres/sql.ts";
import { systemClock } from "../time/clock.ts";

// A consumer of USERS in a process of its own, for tests that kill it. Its effect is a row per event in user_quota.effects.

const log = createLogger("consumer-process", process.env.TEST_LOG_LEVEL ?? "warn");
const pool = await openPool({ url: process.env.DATABASE_URL ?? "", schema: "user_quota", log, poolSize: 2 });
const nats = await connectNats({ url: process.env.NATS_URL ?? "", name: "consumer-process", log });
const stop = new AbortController();
startConsumer({
  ...{ pool, nats, log, schema: "user_quota", stream: "USERS", durable: "user-quota-users", clock: systemClock },
  ...{ metrics: createMetrics("user-quota"), signal: stop.signal, leaseTtlMs: 1_000, maxBatch: 50 },
  apply: async (tx, events, batch) => {
    await tx.query(sql.type(z.strictObject({}))`
      insert into user_quota.effects (key, version)
      select key, version::bigint from unnest(
        ${textArray(events.map((event) => event.key))},
        ${textArray(events.map((event) => event.keyVersion.toString()))}
      ) as event (key, version)`);
    batch.locked();
  },
});
process.on("disconnect", () => process.exit(0));
process.send?.("started");
