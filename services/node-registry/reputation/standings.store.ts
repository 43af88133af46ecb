import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { boolArray, instantArray, int8Array, sql, textArray, zInstant, zInt8, zVoid } from "#platform/postgres/sql.ts";
import type { Standing } from "./formula.ts";

/** A node's standing as it was last computed, and up to which entry. */
export interface StoredStanding {
  readonly nodeRowId: bigint;
  readonly formula: string;
  readonly standing: Standing;
  readonly belowSince: Temporal.Instant | undefined;
  readonly appliedEvidenceId: bigint;
  readonly unloggedSuccesses: number;
}

const zStanding = z.strictObject({
  node_id: zInt8,
  formula: z.string(),
  score: z.number(),
  proven_score: z.number(),
  formula_values: z.record(z.string(), z.number()),
  below_since: zInstant.nullable(),
  applied_evidence_id: zInt8,
  unlogged_successes: zInt8,
});

const columns = sql.fragment`
  r.node_id, r.formula, r.score, r.proven_score, r.formula_values, r.below_since, r.applied_evidence_id,
  r.unlogged_successes`;

/** Locks nodes with new entries that no other process is scoring. */
export async function lockPending(tx: Transaction, limit: number): Promise<StoredStanding[]> {
  const rows = await tx.any(sql.type(zStanding)`
    select ${columns}
    from node_registry.node_reputations r
    where r.is_pending
    order by r.node_id
    limit ${limit}
    for no key update skip locked`);
  return rows.map(fromRow);
}

/** Waits for the row, which `addEvidence` has made. */
export async function lockStanding(tx: Transaction, nodeRowId: bigint): Promise<StoredStanding> {
  const row = await tx.one(sql.type(zStanding)`
    select ${columns} from node_registry.node_reputations r where r.node_id = ${nodeRowId} for no key update`);
  return fromRow(row);
}

export async function findStanding(db: Connection, nodeRowId: bigint): Promise<StoredStanding | undefined> {
  const row = await db.maybeOne(sql.type(zStanding)`
    select ${columns} from node_registry.node_reputations r where r.node_id = ${nodeRowId}`);
  return row === null ? undefined : fromRow(row);
}

export async function saveStandings(tx: Transaction, standings: readonly StoredStanding[]): Promise<void> {
  await tx.query(sql.type(zVoid)`
    update node_registry.node_reputations r
    set formula = made.formula, score = made.score, proven_score = made.proven_score,
      formula_values = made.formula_values::jsonb, below_since = made.below_since,
      applied_evidence_id = made.applied_evidence_id, is_pending = false
    from unnest(
      ${int8Array(standings.map((standing) => standing.nodeRowId))},
      ${textArray(standings.map((standing) => standing.formula))},
      ${float8Array(standings.map(({ standing }) => standing.score))},
      ${float8Array(standings.map(({ standing }) => standing.provenScore))},
      ${textArray(standings.map(({ standing }) => JSON.stringify(standing.values)))},
      ${instantArray(standings.map((standing) => standing.belowSince ?? null))},
      ${int8Array(standings.map((standing) => standing.appliedEvidenceId))}
    ) as made (node_id, formula, score, proven_score, formula_values, below_since, applied_evidence_id)
    where r.node_id = made.node_id`);
}

/** After a change of the formula every node is scored anew, from the whole log. */
export async function markOtherFormulas(db: Connection, formula: string): Promise<number> {
  const { rowCount } = await db.query(sql.type(zVoid)`
    update node_registry.node_reputations set is_pending = true
    where formula not in ('', ${formula}) and not is_pending`);
  return rowCount;
}

const zNode = z.strictObject({
  id: zInt8,
  node_hash: z.string(),
  state: z.enum(["in_service", "draining", "maintenance", "disqualified", "deregistered"]),
  reputation_score: z.number(),
  is_on_probation: z.boolean(),
  is_young: z.boolean(),
  event_version: zInt8,
});

export type ScoredNode = z.infer<typeof zNode>;

/** The nodes as the directory has them, locked in the order of their ids. */
export async function lockScoredNodes(
  tx: Transaction,
  nodeRowIds: readonly bigint[],
): Promise<ReadonlyMap<bigint, ScoredNode>> {
  const rows = await tx.any(sql.type(zNode)`
    select n.id, encode(n.node_id, 'hex') as node_hash, n.state, n.reputation_score, n.is_on_probation,
      coalesce(n.probation_until > node_registry.lease_clock(), false) as is_young, n.event_version
    from node_registry.storage_nodes n
    where n.id = any(${int8Array(nodeRowIds)})
    order by n.id
    for no key update of n`);
  return new Map(rows.map((row) => [row.id, row]));
}

export interface NodeScore {
  readonly nodeRowId: bigint;
  readonly previousScore: number;
  readonly score: number;
  readonly isOnProbation: boolean;
  readonly disqualification: string | undefined;
  /** Why the brake keeps it from being shut out; undefined where it does not. */
  readonly withheld: string | undefined;
  readonly eventVersion: bigint;
  readonly evidence: string;
  readonly actor: string;
  readonly reason: string;
}

/** The directory's copy of the scores, what follows from them, and the history. The rows must be locked. */
export async function writeScores(tx: Transaction, scores: readonly NodeScore[]): Promise<void> {
  const ids = int8Array(scores.map((score) => score.nodeRowId));
  const values = float8Array(scores.map((score) => score.score));
  await tx.query(sql.type(zVoid)`
    with score as (
      select * from unnest(
        ${ids}, ${float8Array(scores.map((score) => score.previousScore))}, ${values},
        ${textArray(scores.map((score) => score.evidence))}, ${textArray(scores.map((score) => score.actor))},
        ${textArray(scores.map((score) => score.reason))}
      ) as score (node_row_id, previous, score, evidence, actor, reason)
    )
    insert into node_registry.node_history (node_row_id, kind, previous_score, score, evidence, actor, reason)
    select node_row_id, 'reputation', previous, score, evidence, actor, reason from score`);
  await tx.query(sql.type(zVoid)`
    insert into node_registry.node_history (node_row_id, kind, previous_state, state, previous_score, score, evidence)
    select n.id, 'state', n.state, case when score.is_shut_out then 'disqualified' else n.state end, n.reputation_score,
      score.score, score.evidence
    from unnest(
      ${ids}, ${values}, ${textArray(scores.map((score) => score.disqualification ?? score.withheld ?? ""))},
      ${boolArray(scores.map((score) => score.disqualification !== undefined))}
    ) as score (node_row_id, score, evidence, is_shut_out)
    join node_registry.storage_nodes n on n.id = score.node_row_id
    where score.evidence <> ''`);
  await tx.query(sql.type(zVoid)`
    update node_registry.storage_nodes n set
      reputation_score = score.score,
      is_on_probation = score.is_on_probation,
      event_version = score.event_version,
      state = case when score.reason = '' then n.state else 'disqualified' end,
      state_reason = case when score.reason = '' then n.state_reason else score.reason end,
      maintenance_until = case when score.reason = '' then n.maintenance_until end,
      is_active = n.is_active and score.reason = ''
    from unnest(
      ${ids}, ${values}, ${boolArray(scores.map((score) => score.isOnProbation))},
      ${int8Array(scores.map((score) => score.eventVersion))},
      ${textArray(scores.map((score) => score.disqualification ?? ""))}
    ) as score (node_row_id, score, is_on_probation, event_version, reason)
    where n.id = score.node_row_id`);
}

function fromRow(row: z.infer<typeof zStanding>): StoredStanding {
  return {
    nodeRowId: row.node_id,
    formula: row.formula,
    standing: { score: row.score, provenScore: row.proven_score, values: row.formula_values },
    belowSince: row.below_since ?? undefined,
    appliedEvidenceId: row.applied_evidence_id,
    unloggedSuccesses: Number(row.unlogged_successes),
  };
}

function float8Array(values: readonly number[]) {
  return sql.array(values, "float8");
}
