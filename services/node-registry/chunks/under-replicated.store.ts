import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { hexBytesArray, instant, int4Array, sql, zInstant, zInt8, zUuid, zVoid } from "#platform/postgres/sql.ts";
import { zHash } from "./hashes.ts";

export interface ReplicaHealth {
  readonly chunkHash: string;
  readonly liveReplicas: number;
  readonly wantedReplicas: number;
  /** Whether it lives and has reached its quorum: only then missing replicas are a matter of repair. */
  readonly isStored: boolean;
}

/**
 * Puts each chunk on the list or takes it off, as its numbers are now. Called with every chunk whose numbers changed,
 * under its lock, so the list is right without ever being searched for.
 */
export async function saveHealth(
  tx: Transaction,
  health: readonly ReplicaHealth[],
  now: Temporal.Instant,
): Promise<void> {
  const short = health.filter((chunk) => chunk.isStored && chunk.liveReplicas < chunk.wantedReplicas);
  const whole = health.filter((chunk) => !chunk.isStored || chunk.liveReplicas >= chunk.wantedReplicas);
  if (health.length === 0) return;
  await tx.query(sql.prepared("save_health", zVoid)`
    with whole as (
      delete from node_registry.under_replicated_chunks
      where chunk_hash = any(${hexBytesArray(whole.map((chunk) => chunk.chunkHash))})
    )
    insert into node_registry.under_replicated_chunks (chunk_hash, live_replicas, wanted_replicas, since)
    select chunk_hash, live_replicas, wanted_replicas, ${instant(now)}
    from unnest(
      ${hexBytesArray(short.map((chunk) => chunk.chunkHash))},
      ${int4Array(short.map((chunk) => chunk.liveReplicas))},
      ${int4Array(short.map((chunk) => chunk.wantedReplicas))}
    ) as short (chunk_hash, live_replicas, wanted_replicas)
    on conflict (chunk_hash) do update
    set live_replicas = excluded.live_replicas, wanted_replicas = excluded.wanted_replicas`);
}

const zUnderReplicated = z.strictObject({
  chunk_hash: zHash,
  owner_id: zUuid,
  generation: z.int(),
  size_bytes: zInt8,
  wanted_replicas: z.int(),
  confirmed_replicas: z.int(),
  live_replicas: z.int(),
  since: zInstant,
});
export type UnderReplicatedRow = z.infer<typeof zUnderReplicated>;

export interface UrgencyCursor {
  readonly liveReplicas: number;
  readonly wantedReplicas: number;
  readonly since: Temporal.Instant;
  readonly chunkHash: string;
}

/** The most urgent first. */
export async function listUnderReplicated(
  db: Connection,
  after: UrgencyCursor | undefined,
  limit: number,
): Promise<readonly UnderReplicatedRow[]> {
  return db.any(sql.type(zUnderReplicated)`
    select encode(l.chunk_hash, 'hex') as chunk_hash, c.owner_id, c.generation, c.size_bytes, l.wanted_replicas,
      c.confirmed_replicas, l.live_replicas, l.since
    from node_registry.under_replicated_chunks l
    join node_registry.chunks c on c.chunk_hash = l.chunk_hash
    where ${after === undefined ? sql.fragment`true` : isBehind(after)}
    order by l.live_replicas, l.wanted_replicas desc, l.since, l.chunk_hash
    limit ${limit}`);
}

/** One column descends, so this is no row comparison; the first condition lets the index start at the right place. */
function isBehind(after: UrgencyCursor) {
  const { liveReplicas, wantedReplicas } = after;
  return sql.fragment`l.live_replicas >= ${liveReplicas} and (l.live_replicas > ${liveReplicas}
    or l.wanted_replicas < ${wantedReplicas}
    or (l.wanted_replicas = ${wantedReplicas}
      and (l.since, l.chunk_hash) > (${instant(after.since)}, decode(${after.chunkHash}, 'hex'))))`;
}
