import type { DatabaseConfig } from "#platform/config/service-config.ts";
import { requireSchema } from "#platform/migrations/require-schema.ts";
import { openPool, type Pool, type PoolOptions } from "./pool.ts";

type Given = Required<Pick<PoolOptions, "schema" | "log" | "metrics" | "signal">>;

/**
 * The pool of a whole service as its configuration says, once its schema is known to be there and new enough.
 *
 * @throws as `openPool` and `requireSchema` do; nothing is left open then.
 */
export async function openServicePool(config: DatabaseConfig, given: Given): Promise<Pool> {
  const pool = await openPool({
    ...given,
    url: config.DATABASE_URL,
    poolSize: config.DATABASE_POOL_SIZE,
    maxOverflow: config.DATABASE_POOL_MAX_OVERFLOW,
    logQueries: config.DATABASE_LOG_QUERIES,
    slowQueryMs: config.DATABASE_SLOW_QUERY,
  });
  try {
    await requireSchema(pool, given.schema);
  } catch (error) {
    await pool.end();
    throw error;
  }
  return pool;
}
