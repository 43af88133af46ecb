import { randomUUID } from "node:crypto";
import { type Client, createClient, createRouterTransport, type Interceptor } from "@connectrpc/connect";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import type { ConsumerOptions } from "#platform/inbox/consumer-options.ts";
import type { ReceivedEvent } from "#platform/inbox/received-event.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { createOutbox } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { type Caller, callerKey } from "#platform/rpc/caller.ts";
import { toConnectError } from "#platform/rpc/details.ts";
import { RpcError } from "#platform/rpc/errors.ts";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { createTestDatabase, createTestLogger, type TestDatabase } from "#platform/testing/test-database.ts";
import { onUserChanged } from "../accounts/on-user-changed.event.ts";
import { onChunkFacts } from "../charges/on-chunk-facts.event.ts";
import type { Deps, UsageClient } from "../deps.ts";
import { userQuotaHandlers } from "../rpcs.ts";

export const GiB = 1_073_741_824n;
export const gateway: Caller = {
  kind: "service",
  clientId: "gateway",
  scopes: new Set(["quota.reserve", "quota.read"]),
};
export const admin: Caller = { kind: "user", userId: randomUUID(), sessionId: randomUUID(), isAdmin: true };

export const noRegistry: Pick<Deps, "registry" | "chunkConsumption"> = {
  registry: { getUserUsage: () => Promise.reject(new Error("there is no node-registry in this test")) },
  chunkConsumption: async () => undefined,
};

export function userCaller(userId: string): Caller {
  return { kind: "user", userId, sessionId: randomUUID(), isAdmin: false };
}

/** user-quota's handlers and consumers over a database of the test's own and a clock that the test moves. */
export interface Fixture extends AsyncDisposable {
  readonly db: TestDatabase;
  readonly pool: Pool;
  readonly clock: ManualClock;
  readonly deps: Deps;
  /** Calls the handlers as this caller, without a server and its access rules. */
  as(caller: Caller): Client<typeof UserQuotaService>;
  /** The same through the handlers of another process, which shares nothing but the database. */
  elsewhere(caller: Caller): Client<typeof UserQuotaService>;
  /** Applies events of node-registry in one transaction, as the consumer does. */
  chunkEvents(...events: readonly ReceivedEvent[]): Promise<void>;
  userEvents(...events: readonly ReceivedEvent[]): Promise<void>;
  /** Opens an account with this limit. */
  account(quotaBytes?: bigint): Promise<string>;
}

export interface FixtureOptions {
  readonly registry?: UsageClient;
  readonly chunkConsumption?: Deps["chunkConsumption"];
  readonly defaultQuotaBytes?: bigint;
  readonly poolSize?: number;
}

export async function createFixture(options: FixtureOptions = {}): Promise<Fixture> {
  const db = await createTestDatabase();
  const pool = await db.pool("user_quota", { poolSize: options.poolSize ?? 2 });
  const clock = new ManualClock();
  const deps: Deps = {
    pool,
    outbox: createOutbox("user_quota"),
    clock,
    log: createTestLogger("user-quota"),
    metrics: createMetrics("user-quota"),
    registry: options.registry ?? noRegistry.registry,
    chunkConsumption: options.chunkConsumption ?? noRegistry.chunkConsumption,
    defaultQuotaBytes: options.defaultQuotaBytes ?? 10n * GiB,
  };
  const applyChunks = onChunkFacts(deps);
  const applyUsers = onUserChanged(deps);
  const handlers = userQuotaHandlers(deps);
  const otherHandlers = userQuotaHandlers(deps);
  const as = (caller: Caller) => clientOf(handlers, caller);
  return {
    db,
    pool,
    clock,
    deps,
    as,
    elsewhere: (caller) => clientOf(otherHandlers, caller),
    chunkEvents: (...events) => applyBatch(pool, applyChunks, events),
    userEvents: (...events) => applyBatch(pool, applyUsers, events),
    account: async (quotaBytes) => {
      const userId = randomUUID();
      await as(userCaller(userId)).getQuota({ userId });
      if (quotaBytes !== undefined) {
        await as(admin).setQuota({ userId, storageQuotaBytes: quotaBytes, reason: "test" });
      }
      return userId;
    },
    [Symbol.asyncDispose]: () => db[Symbol.asyncDispose](),
  };
}

async function applyBatch(pool: Pool, apply: ConsumerOptions["apply"], events: readonly ReceivedEvent[]) {
  let afterCommit = () => {};
  const batch = {
    locked: () => {},
    predecessor: async () => {},
    afterCommit: (work: () => void) => (afterCommit = work),
  };
  await pool.transaction((tx) => apply(tx, events, batch));
  afterCommit();
}

function clientOf(handlers: ReturnType<typeof userQuotaHandlers>, caller: Caller): Client<typeof UserQuotaService> {
  const identify: Interceptor = (next) => async (request) => {
    request.contextValues.set(callerKey, caller);
    try {
      return await next(request);
    } catch (error) {
      throw error instanceof RpcError ? toConnectError(error) : error;
    }
  };
  const transport = createRouterTransport((router) => router.service(UserQuotaService, handlers), {
    router: { interceptors: [identify] },
  });
  return createClient(UserQuotaService, transport);
}
