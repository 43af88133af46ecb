import type { Connection } from "#platform/postgres/pool.ts";
import { instant, sql, zVoid } from "#platform/postgres/sql.ts";

/** Nothing is looked at later than a failed attempt, after seven days; with room for clocks that differ. */
const LONGEST = Temporal.Duration.from({ hours: 8 * 24 });
const BATCH = 500;

/**
 * Gives uploads that a wrong clock has dated years ahead the time that they would have from now on: they would wait for
 * their end until then, with space assigned to them. One look at the end of the due-index.
 */
export async function bringUploadsBack(db: Connection, now: Temporal.Instant): Promise<void> {
  const inADay = instant(now.add({ hours: 24 }));
  await db.query(sql.type(zVoid)`
    with overlong as materialized (
      select upload_id from node_registry.uploads
      where due_at > ${instant(now.add(LONGEST))}
      order by due_at desc
      limit ${BATCH}
      for no key update skip locked
    )
    update node_registry.uploads u
    set due_at = case u.state
        when 'reserving' then ${instant(now)} when 'failed' then ${instant(now.add({ hours: 7 * 24 }))} else ${inADay} end,
      expires_at = case u.state when 'open' then ${inADay} else u.expires_at end
    from overlong
    where u.upload_id = overlong.upload_id`);
}
