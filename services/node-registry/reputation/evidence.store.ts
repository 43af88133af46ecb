import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import {
  hexBytesArray,
  instantArray,
  int4Array,
  int8Array,
  sql,
  textArray,
  zInstant,
  zInt8,
  zVoid,
} from "#platform/postgres/sql.ts";
import { zHash } from "../chunks/hashes.ts";
import type { EvidenceKind } from "./formula.ts";

export interface NewEvidence {
  readonly nodeRowId: bigint;
  readonly kind: EvidenceKind;
  readonly count: number;
  readonly occurredAt: Temporal.Instant;
  readonly chunkHash?: string;
  readonly commandId?: string;
  /** For a reset: the admin and why. */
  readonly actor?: string;
  readonly reason?: string;
}

// What one entry can count; a node that proves a hundred replicas a second is there within a year.
const MAX_COUNT = 2_147_483_647;

const zNode = z.strictObject({ node_id: zInt8 });

/**
 * Adds to the log and marks the nodes for scoring. The node's row is locked before ids are drawn, so that the ids of one
 * node are in the order of commits; successes that were only counted so far go before the new entries.
 */
export async function addEvidence(tx: Transaction, entries: readonly NewEvidence[]): Promise<void> {
  if (entries.length === 0) return;
  const at = new Map<bigint, Temporal.Instant>();
  for (const entry of entries) if (!at.has(entry.nodeRowId)) at.set(entry.nodeRowId, entry.occurredAt);
  const nodes = [...at].sort(([a], [b]) => (a < b ? -1 : 1));
  await tx.query(sql.type(zVoid)`
    insert into node_registry.node_reputations (node_id, is_pending)
    select node_id, true from unnest(${int8Array(nodes.map(([node]) => node))}) as asked (node_id)
    order by node_id
    on conflict (node_id) do update set is_pending = true`);
  await tx.query(sql.type(zVoid)`
    with counted as (
      update node_registry.node_reputations r
      set unlogged_successes = r.unlogged_successes - least(r.unlogged_successes, ${MAX_COUNT})
      from node_registry.node_reputations before
      where r.node_id = any(${int8Array(nodes.map(([node]) => node))})
        and r.unlogged_successes > 0 and before.node_id = r.node_id
      returning r.node_id, least(before.unlogged_successes, ${MAX_COUNT})::integer as successes
    )
    insert into node_registry.reputation_evidence (node_id, kind, count, occurred_at)
    select counted.node_id, 'proof_succeeded', counted.successes, first.occurred_at
    from counted
    join unnest(
      ${int8Array(nodes.map(([node]) => node))}, ${instantArray(nodes.map(([, instant]) => instant))}
    ) as first (node_id, occurred_at) using (node_id)
    order by counted.node_id`);
  await insertEntries(tx, entries);
}

async function insertEntries(tx: Transaction, entries: readonly NewEvidence[]): Promise<void> {
  await tx.query(sql.type(zVoid)`
    insert into node_registry.reputation_evidence
      (node_id, kind, count, occurred_at, chunk_hash, command_id, actor, reason)
    select node_id, kind, count, occurred_at, chunk_hash, command_id, actor, reason
    from unnest(
      ${int8Array(entries.map((entry) => entry.nodeRowId))},
      ${textArray(entries.map((entry) => entry.kind))},
      ${int4Array(entries.map((entry) => entry.count))},
      ${instantArray(entries.map((entry) => entry.occurredAt))},
      ${hexBytesArray(entries.map((entry) => entry.chunkHash ?? null))},
      ${sql.array(
        entries.map((entry) => entry.commandId ?? null),
        "uuid",
      )},
      ${textArray(entries.map((entry) => entry.actor ?? ""))},
      ${textArray(entries.map((entry) => entry.reason ?? ""))}
    ) with ordinality as entry (node_id, kind, count, occurred_at, chunk_hash, command_id, actor, reason, position)
    order by position`);
}

/**
 * Successes of nodes. Where the score is full they change nothing, so they are only counted, until the next entry of
 * another kind makes one entry of them. Answers the nodes whose successes were logged.
 */
export async function addSuccesses(
  tx: Transaction,
  successes: ReadonlyMap<bigint, number>,
  occurredAt: Temporal.Instant,
): Promise<readonly bigint[]> {
  if (successes.size === 0) return [];
  const nodes = [...successes].sort(([a], [b]) => (a < b ? -1 : 1));
  const counted = await tx.any(sql.type(zNode)`
    insert into node_registry.node_reputations as r (node_id, unlogged_successes)
    select node_id, successes
    from unnest(
      ${int8Array(nodes.map(([node]) => node))}, ${int8Array(nodes.map(([, count]) => count))}
    ) as added (node_id, successes)
    order by node_id
    on conflict (node_id) do update set unlogged_successes = r.unlogged_successes + excluded.unlogged_successes
      where r.score = 1 and not r.is_pending
    returning r.node_id`);
  const isCounted = new Set(counted.map((row) => row.node_id));
  const logged = nodes.filter(([node]) => !isCounted.has(node));
  await addEvidence(
    tx,
    logged.map(([nodeRowId, count]) => ({ nodeRowId, kind: "proof_succeeded", count, occurredAt })),
  );
  return logged.map(([node]) => node);
}

const zEntry = z.strictObject({
  id: zInt8,
  node_id: zInt8,
  kind: z.enum(["proof_succeeded", "proof_failed", "proof_timed_out", "proof_invalid", "loss_reported", "reset"]),
  count: z.int(),
  occurred_at: zInstant,
  chunk_hash: zHash.nullable(),
  command_id: z.string().nullable(),
  actor: z.string(),
  reason: z.string(),
});

export interface LoggedEvidence extends NewEvidence {
  readonly id: bigint;
}

const columns = sql.fragment`
  e.id, e.node_id, e.kind, e.count, e.occurred_at, encode(e.chunk_hash, 'hex') as chunk_hash, e.command_id, e.actor,
  e.reason`;

/** A node and the entry behind which to read. */
type Position = readonly [nodeRowId: bigint, after: bigint];

/**
 * Each node's entries behind the one given for it, in order, node after node, so many at a time: a whole log can have any
 * length.
 */
export async function* evidenceAfter(
  db: Connection,
  positions: ReadonlyMap<bigint, bigint>,
  pageSize = 10_000,
): AsyncGenerator<readonly LoggedEvidence[]> {
  let left: readonly Position[] = [...positions].sort(([a], [b]) => (a < b ? -1 : 1));
  while (left.length > 0) {
    const page = await readEvidencePage(db, left, pageSize);
    if (page.length > 0) yield page;
    const last = page.at(-1);
    if (last === undefined || page.length < pageSize) return;
    left = [[last.nodeRowId, last.id], ...left.filter(([nodeRowId]) => nodeRowId > last.nodeRowId)];
  }
}

/** One node after the other, as the lateral subquery makes it, and no further than the limit: nothing is sorted. */
async function readEvidencePage(db: Connection, positions: readonly Position[], limit: number) {
  const rows = await db.any(sql.type(zEntry)`
    select e.*
    from unnest(
      ${int8Array(positions.map(([nodeRowId]) => nodeRowId))}, ${int8Array(positions.map(([, after]) => after))}
    ) as asked (node_id, after)
    cross join lateral (
      select ${columns}
      from node_registry.reputation_evidence e
      where e.node_id = asked.node_id and e.id > asked.after
      order by e.id
      limit ${limit}
    ) as e
    limit ${limit}`);
  return rows.map(fromRow);
}

/** The last entries of a node, in order. */
export async function readLatestEvidence(db: Connection, nodeRowId: bigint, limit: number): Promise<LoggedEvidence[]> {
  const rows = await db.any(sql.type(zEntry)`
    select ${columns}
    from node_registry.reputation_evidence e
    where e.node_id = ${nodeRowId}
    order by e.id desc
    limit ${limit}`);
  return rows.map(fromRow).reverse();
}

function fromRow(row: z.infer<typeof zEntry>): LoggedEvidence {
  return {
    id: row.id,
    nodeRowId: row.node_id,
    kind: row.kind,
    count: row.count,
    occurredAt: row.occurred_at,
    ...(row.chunk_hash === null ? {} : { chunkHash: row.chunk_hash }),
    ...(row.command_id === null ? {} : { commandId: row.command_id }),
    actor: row.actor,
    reason: row.reason,
  };
}
