import { z } from "zod";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql, zInt8 } from "#platform/postgres/sql.ts";

/**
 * Every running figure compared with what the rows themselves say; the answer lists the contradictions, so a test expects
 * []. Whatever a test does, these hold after every commit.
 */
export async function contradictions(pool: Pool): Promise<readonly string[]> {
  return pool.anyFirst(sql.type(z.strictObject({ problem: z.string() }))`
    with replica as (
      select chunk_hash, count(*) filter (where stored_at is not null) as confirmed,
        count(*) filter (where stored_at is not null and coalesce(h.is_available, true)) as live
      from node_registry.chunk_storage s left join node_registry.node_holdings h on h.node_id = s.node_id
      group by chunk_hash
    ), held as (
      select s.node_id,
        count(*) filter (where stored_at is null and lost_at is null) as assigned_chunks,
        coalesce(sum(c.size_bytes) filter (where stored_at is null and lost_at is null), 0) as assigned_bytes,
        count(*) filter (where stored_at is not null) as confirmed_chunks,
        coalesce(sum(c.size_bytes) filter (where stored_at is not null), 0) as confirmed_bytes,
        mod(coalesce(sum(
          (('x' || encode(substr(sha256(s.chunk_hash), 1, 4), 'hex'))::bit(32)::bigint & 4294967295)::numeric * 4294967296
          + (('x' || encode(substr(sha256(s.chunk_hash), 5, 4), 'hex'))::bit(32)::bigint & 4294967295)
        ) filter (where stored_at is not null), 0), 18446744073709551616) as digest
      from node_registry.chunk_storage s join node_registry.chunks c on c.chunk_hash = s.chunk_hash
      group by s.node_id
    ), deleting as (
      select node_id, count(*) as pending from node_registry.chunk_deletions group by node_id
    ), charged as (
      select owner_id, count(*) as chunks, sum(size_bytes) as bytes
      from node_registry.chunks where quorum_at is not null and released_at is null group by owner_id
    ), waiting as (
      select r.upload_id, count(*) filter (where c.quorum_at is null) as remaining
      from node_registry.upload_chunks r join node_registry.chunks c on c.chunk_hash = r.chunk_hash
      group by r.upload_id
    )
    select 'replica numbers of ' || encode(c.chunk_hash, 'hex') as problem
    from node_registry.chunks c left join replica r using (chunk_hash)
    where (c.confirmed_replicas, c.live_replicas) is distinct from
      (coalesce(r.confirmed, 0)::smallint, coalesce(r.live, 0)::smallint)
    union all
    select 'dead chunk with replicas ' || encode(c.chunk_hash, 'hex')
    from node_registry.chunks c join node_registry.chunk_storage s using (chunk_hash) where c.released_at is not null
    union all
    select 'life without use, or use without life ' || encode(c.chunk_hash, 'hex')
    from node_registry.chunks c
    where (c.released_at is null) <> exists (
      select from node_registry.upload_chunks r where r.chunk_hash = c.chunk_hash)
    union all
    select 'holdings of node ' || h.node_id
    from node_registry.node_holdings h left join held using (node_id) left join deleting d using (node_id)
    where (h.assigned_chunks, h.assigned_bytes, h.confirmed_chunks, h.confirmed_bytes, h.digest, h.pending_deletions)
      is distinct from (coalesce(held.assigned_chunks, 0), coalesce(held.assigned_bytes, 0)::bigint,
        coalesce(held.confirmed_chunks, 0), coalesce(held.confirmed_bytes, 0)::bigint, coalesce(held.digest, 0),
        coalesce(d.pending, 0))
    union all
    select 'usage of ' || coalesce(u.user_id, c.owner_id)
    from node_registry.user_usage u full join charged c on c.owner_id = u.user_id
    where (coalesce(u.charged_chunks, 0), coalesce(u.charged_bytes, 0)) is distinct from
      (coalesce(c.chunks, 0), coalesce(c.bytes, 0)::bigint)
    union all
    select 'open upload ' || u.upload_id
    from node_registry.uploads u left join waiting w using (upload_id)
    where u.state = 'open' and u.remaining_chunks <> coalesce(w.remaining, 0)
    union all
    select 'ended upload waits ' || u.upload_id
    from node_registry.uploads u join waiting w using (upload_id)
    where u.state <> 'open' and w.remaining > 0
    union all
    select 'payer of ' || encode(c.chunk_hash, 'hex')
    from node_registry.chunks c left join node_registry.uploads u on u.upload_id = c.paying_upload_id
    where c.released_at is null and c.quorum_at is null
      and (u.state is null or u.state not in ('open', 'completed', 'expired'))
    union all
    select 'list of under-replicated chunks ' || encode(coalesce(l.chunk_hash, c.chunk_hash), 'hex')
    from node_registry.under_replicated_chunks l
    full join (
      select chunk_hash, live_replicas, wanted_replicas from node_registry.chunks
      where released_at is null and quorum_at is not null and live_replicas < wanted_replicas
    ) c on c.chunk_hash = l.chunk_hash
    where (l.live_replicas, l.wanted_replicas) is distinct from (c.live_replicas, c.wanted_replicas)
    union all
    select 'events of ' || key
    from node_registry.outbox group by key
    having min(key_version) <> 1 or max(key_version) <> count(*) or count(distinct key_version) <> count(*)
    union all
    select 'order of events of ' || key
    from (select key, key_version, lag(key_version) over (partition by key order by id) as before from node_registry.outbox) o
    where o.before is not null and o.before <> o.key_version - 1
    union all
    select 'a replica and its deletion ' || encode(s.chunk_hash, 'hex')
    from node_registry.chunk_storage s
    join node_registry.chunk_deletions d on d.chunk_hash = s.chunk_hash and d.node_id = s.node_id`);
}

/**
 * How many deadlocks the database has had to break. Slonik repeats the transactions that lose, so nobody else would
 * notice that rows are locked in the wrong order.
 */
export async function deadlocks(pool: Pool): Promise<bigint> {
  await pool.query(sql.unsafe`select pg_stat_clear_snapshot()`);
  return pool.oneFirst(sql.type(z.strictObject({ deadlocks: zInt8 }))`
    select deadlocks from pg_stat_database where datname = current_database()`);
}
