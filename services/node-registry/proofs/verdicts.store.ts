import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { instant, int8Array, sql, textArray, uuidArray, zInt8, zUuid, zVoid } from "#platform/postgres/sql.ts";

const zOutcome = z.enum(["proved", "not_held", "invalid", "timed_out"]);
export type OutcomeName = z.infer<typeof zOutcome>;

export interface Verdict {
  readonly commandId: string;
  readonly nodeRowId: bigint;
  readonly outcome: OutcomeName;
}

export async function insertVerdicts(
  tx: Transaction,
  verdicts: readonly Verdict[],
  now: Temporal.Instant,
): Promise<void> {
  if (verdicts.length === 0) return;
  await tx.query(sql.type(zVoid)`
    insert into node_registry.proof_verdicts (command_id, node_id, outcome, decided_at)
    select *, ${instant(now)}
    from unnest(
      ${uuidArray(verdicts.map((verdict) => verdict.commandId))},
      ${int8Array(verdicts.map((verdict) => verdict.nodeRowId))},
      ${textArray(verdicts.map((verdict) => verdict.outcome))}
    )`);
}

export async function readVerdicts(db: Connection, commandIds: readonly string[]): Promise<readonly Verdict[]> {
  const rows = await db.any(sql.type(z.strictObject({ command_id: zUuid, node_id: zInt8, outcome: zOutcome }))`
    select command_id, node_id, outcome
    from node_registry.proof_verdicts
    where command_id = any(${uuidArray(commandIds)})`);
  return rows.map((row) => ({ commandId: row.command_id, nodeRowId: row.node_id, outcome: row.outcome }));
}

const zTaken = z.strictObject({ node_id: zInt8.nullable(), successes: zInt8, next: zUuid.nullable() });

/**
 * Takes out verdicts that are old enough, of the next `limit` from the given id on, and answers the successes among them
 * by node, to be counted in the same transaction, and where to go on; undefined behind the last one that can be old
 * enough. Of processes that do this at the same time the second waits, and finds them gone.
 */
export async function takeOldVerdicts(
  tx: Transaction,
  decidedBefore: Temporal.Instant,
  { from, limit }: { readonly from: string; readonly limit: number },
): Promise<{ readonly successes: ReadonlyMap<bigint, number>; readonly next: string | undefined }> {
  const rows = await tx.any(sql.type(zTaken)`
    with beyond as materialized (
      select command_id from node_registry.proof_verdicts
      where command_id >= ${from}::uuid and command_id < ${firstIdAfter(decidedBefore)}::uuid
      order by command_id
      limit 1 offset ${limit}
    ), taken as (
      delete from node_registry.proof_verdicts
      where decided_at < ${instant(decidedBefore)} and command_id >= ${from}::uuid
        and command_id < least(${firstIdAfter(decidedBefore)}::uuid, (select command_id from beyond))
      returning node_id, outcome
    )
    select node_id, count(*) as successes, null::uuid as next
    from taken
    where outcome = 'proved'
    group by node_id
    union all
    select null, 0, command_id from beyond`);
  return {
    successes: new Map(
      rows.flatMap((row) => (row.node_id === null ? [] : [[row.node_id, Number(row.successes)] as const])),
    ),
    next: rows.find((row) => row.next !== null)?.next ?? undefined,
  };
}

/** Ids carry the time of the question, which is before that of the verdict: the index then ends the search. */
function firstIdAfter(instant: Temporal.Instant): string {
  const hex = instant.epochMilliseconds.toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-ffff-ffff-ffffffffffff`;
}
