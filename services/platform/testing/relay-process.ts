import { createLogger } from "../log/logger.ts";
import { connectNats } from "../nats/connect.ts";
import { createMetrics } from "../ops/metrics.ts";
import { createOutbox } from "../outbox/outbox.ts";
import { startRelay } from "../outbox/relay.worker.ts";
import { openPool } from "../postgres/pool.ts";
import { systemClock } from "../time/clock.ts";

// A relay of auth's outbox in a process of its own, for tests that kill it.

const log = createLogger("relay-process", process.env.TEST_LOG_LEVEL ?? "warn");
const pool = await openPool({ url: process.env.DATABASE_URL ?? "", schema: "auth", log, poolSize: 2, maxOverflow: 4 });
const nats = await connectNats({ url: process.env.NATS_URL ?? "", name: "relay-process", log });
const stop = new AbortController();
startRelay({
  ...{ pool, nats, log, schema: "auth", streams: ["USERS"], outbox: createOutbox("auth"), clock: systemClock },
  ...{ metrics: createMetrics("auth"), signal: stop.signal, leaseTtlMs: Number(process.env.LEASE_TTL_MS ?? 1_000) },
});
process.on("disconnect", () => process.exit(0));
process.send?.("started");
