import type { CommonQueryMethods } from "slonik";
import { z } from "zod";
import type { Logger } from "#platform/log/logger.ts";
import { sql } from "./sql.ts";

const capacityRow = z.strictObject({ allowed: z.number() });

/** Every service opens a pool of the same settings unless told otherwise. */
const poolsPerInstallation = 3;

/** Warns when the pools of all services together may ask for more connections than the server gives. */
export async function checkCapacity(pool: CommonQueryMethods, poolSize: number, maxOverflow: number, log: Logger) {
  const { allowed } = await pool.one(sql.type(capacityRow)`
    select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
      - coalesce(current_setting('reserved_connections', true)::int, 0) as allowed`);
  const wanted = poolsPerInstallation * (poolSize + maxOverflow);
  if (wanted <= allowed) return;
  log.warn(
    { allowed, wanted, poolSize, maxOverflow },
    `${poolsPerInstallation} services with ${poolSize} + ${maxOverflow} connections may ask for ${wanted}, the server ` +
      `gives ${allowed}: lower DATABASE_POOL_MAX_OVERFLOW, or raise its max_connections`,
  );
}
