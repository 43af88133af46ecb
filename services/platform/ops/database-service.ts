import { DatabaseService } from "#gen/decentrastore/ops/v1/database_service_pb.ts";
import type { Logger } from "#platform/log/logger.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { implement, type RpcService } from "#platform/rpc/service.ts";
import { selectConnections, selectDatabase, selectSlowestStatements, selectTables } from "./database-stats.store.ts";

/** decentrastore.ops.v1.DatabaseService over one service's pool and schema. */
export function databaseService(deps: { pool: Pool; schema: string; log: Logger }): RpcService {
  const { pool, schema } = deps;
  return implement(DatabaseService, {
    getDatabaseStats: async () => {
      const [tables, connections, database] = await Promise.all([
        selectTables(pool, schema),
        selectConnections(pool),
        selectDatabase(pool),
      ]);
      const { statementsSchema, ...figures } = database;
      const slowestStatements = statementsSchema === null ? [] : await slowest(deps, statementsSchema);
      return {
        ...figures,
        tables: [...tables],
        connections: [...connections],
        slowestStatements: [...slowestStatements],
      };
    },
  });
}

/** The extension can be installed and yet not usable: not preloaded, or not granted to this role. */
async function slowest({ pool, log }: { pool: Pool; log: Logger }, statementsSchema: string) {
  try {
    return await selectSlowestStatements(pool, statementsSchema);
  } catch (error) {
    log.warn({ err: error }, "pg_stat_statements is installed, but cannot be read");
    return [];
  }
}
