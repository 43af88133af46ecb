import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { sql, zVoid } from "#platform/postgres/sql.ts";

/**
 * Renews this process's own row; answers how many processes are alive. A renewal that comes late protects the leases of
 * this process from then on: what its nodes said meanwhile may still wait in its sockets.
 */
export async function renewInstance(
  db: Connection,
  instanceId: string,
  times: { readonly lateMs: number; readonly leaseTtlMs: number },
): Promise<number> {
  await db.query(sql.type(zVoid)`
    insert into node_registry.registry_instances as i (instance_id) values (${instanceId})
    on conflict (instance_id) do update set
      renewed_at = node_registry.lease_clock(),
      is_found_late = false,
      protected_until = case
        when i.is_found_late or ${clockMinus(times.lateMs)} > i.renewed_at then ${clockPlus(times.leaseTtlMs)}
        else i.protected_until end`);
  const { alive } = await db.one(sql.type(z.strictObject({ alive: z.int() }))`
    select count(*)::int as alive from node_registry.registry_instances
    where renewed_at > ${clockMinus(times.lateMs)}`);
  return alive;
}

/** Marks processes that are late, and drops those that have been gone for a day. */
export async function findLateInstances(
  db: Connection,
  times: { readonly lateMs: number; readonly leaseTtlMs: number },
): Promise<number> {
  const { rowCount } = await db.query(sql.type(zVoid)`
    update node_registry.registry_instances
    set is_found_late = true, protected_until = ${clockPlus(times.leaseTtlMs)}
    where not is_found_late and renewed_at < ${clockMinus(times.lateMs)}`);
  await db.query(sql.type(zVoid)`
    delete from node_registry.registry_instances
    where renewed_at < ${clockMinus(Math.max(86_400_000, 10 * times.leaseTtlMs))}`);
  return rowCount;
}

function clockMinus(ms: number) {
  return sql.fragment`node_registry.lease_clock() - ${ms}::float8 * interval '1 millisecond'`;
}

function clockPlus(ms: number) {
  return sql.fragment`node_registry.lease_clock() + ${ms}::float8 * interval '1 millisecond'`;
}
