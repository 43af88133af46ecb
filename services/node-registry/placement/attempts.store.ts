import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { hexBytes, instant, sql, textArray, zInt8, zUuid, zVoid } from "#platform/postgres/sql.ts";
import { type SoftRule, zSoftRule } from "./draw.ts";
import type { UploadContent } from "./upload-content.ts";

/** How long a placement may take before the sweeper takes it for a crash's leftover. */
export const RESERVING_LIMIT = Temporal.Duration.from({ minutes: 1 });
/** How long a failed attempt is remembered: longer than any reservation of its key can be. */
const FAILED_KEPT = Temporal.Duration.from({ hours: 7 * 24 });

/** Begins the first attempt; false where the upload_id is known already. */
export async function insertAttempt(
  tx: Transaction,
  content: UploadContent,
  newBytes: bigint,
  now: Temporal.Instant,
): Promise<boolean> {
  const { rowCount } = await tx.query(sql.type(zVoid)`
    insert into node_registry.uploads
      (upload_id, user_id, state, fingerprint, replicas, chunk_count, reserved_bytes, created_at, due_at)
    values (${content.uploadId}::uuid, ${content.userId}::uuid, 'reserving', ${hexBytes(content.fingerprint)},
      ${content.replicas}, ${content.chunks.length}, ${newBytes}, ${instant(now)}, ${instant(now.add(RESERVING_LIMIT))})
    on conflict do nothing`);
  return rowCount === 1;
}

/** Begins the next attempt after a failed one, possibly with other content: nothing of the earlier one remains. */
export async function restartAttempt(
  tx: Transaction,
  content: UploadContent,
  newBytes: bigint,
  now: Temporal.Instant,
): Promise<void> {
  await tx.query(sql.type(zVoid)`
    update node_registry.uploads
    set user_id = ${content.userId}::uuid, state = 'reserving', fingerprint = ${hexBytes(content.fingerprint)},
      replicas = ${content.replicas}, chunk_count = ${content.chunks.length}, reserved_bytes = ${newBytes},
      reservation_id = null, created_at = ${instant(now)}, due_at = ${instant(now.add(RESERVING_LIMIT))}
    where upload_id = ${content.uploadId}::uuid and state = 'failed'`);
}

const zFailed = z.strictObject({ user_id: zUuid, reserved_bytes: zInt8 });

/** Which attempt of which upload: together the idempotency key of its reservation. */
export interface AttemptKey {
  readonly uploadId: string;
  readonly attempt: number;
}

/**
 * Ends an attempt that came to nothing and raises the number, so that its reservation key is never used again. Answers
 * what it asked for; undefined where the attempt is not the one under way any more.
 */
export async function failAttempt(
  tx: Connection,
  { uploadId, attempt }: AttemptKey,
  now: Temporal.Instant,
): Promise<{ userId: string; reservedBytes: bigint } | undefined> {
  const row = await tx.maybeOne(sql.type(zFailed)`
    update node_registry.uploads
    set state = 'failed', attempt = attempt + 1, due_at = ${instant(now.add(FAILED_KEPT))}
    where upload_id = ${uploadId}::uuid and attempt = ${attempt} and state = 'reserving'
    returning user_id, reserved_bytes`);
  return row === null ? undefined : { userId: row.user_id, reservedBytes: row.reserved_bytes };
}

const zFailedDue = zFailed.extend({ attempt: z.int() });

/** The same for an attempt whose time is over. */
export async function failDueAttempt(tx: Transaction, uploadId: string, now: Temporal.Instant) {
  const row = await tx.maybeOne(sql.type(zFailedDue)`
    update node_registry.uploads
    set state = 'failed', attempt = attempt + 1, due_at = ${instant(now.add(FAILED_KEPT))}
    where upload_id = ${uploadId}::uuid and state = 'reserving' and due_at <= ${instant(now)}
    returning user_id, reserved_bytes, attempt - 1 as attempt`);
  return row === null
    ? undefined
    : { uploadId, attempt: row.attempt, userId: row.user_id, sizeBytes: row.reserved_bytes };
}

export interface Placed {
  readonly uploadId: string;
  readonly reservationId: string | null;
  readonly remainingChunks: number;
  readonly now: Temporal.Instant;
  readonly expiresAt: Temporal.Instant;
  readonly relaxed: ReadonlySet<SoftRule>;
}

/** The upload is placed; where it waits for no chunk it is complete at once. Its row must be locked. */
export async function openUpload(tx: Transaction, placed: Placed): Promise<void> {
  const isComplete = placed.remainingChunks === 0;
  await tx.query(sql.type(zVoid)`
    update node_registry.uploads
    set state = ${isComplete ? "completed" : "open"}, reservation_id = ${placed.reservationId}::uuid,
      remaining_chunks = ${placed.remainingChunks}, placed_at = ${instant(placed.now)},
      relaxed_rules = ${textArray([...placed.relaxed])},
      expires_at = ${instant(placed.expiresAt)}, due_at = ${instant(placed.expiresAt)},
      ended_at = ${isComplete ? instant(placed.now) : sql.fragment`null`},
      event_version = event_version + ${isComplete ? 1 : 0}
    where upload_id = ${placed.uploadId}::uuid`);
}

/** Rules that were relaxed for an upload so far, for repeats of the call that placed it. */
export async function readRelaxedRules(db: Connection, uploadId: string): Promise<ReadonlySet<SoftRule>> {
  const rules = await db.oneFirst(sql.type(z.strictObject({ relaxed_rules: z.array(zSoftRule) }))`
    select relaxed_rules from node_registry.uploads where upload_id = ${uploadId}::uuid`);
  return new Set(rules);
}

/** Nodes of an upload were exchanged for others. Its row must be locked. */
export async function addRelaxedRules(
  tx: Transaction,
  uploadId: string,
  relaxed: ReadonlySet<SoftRule>,
): Promise<void> {
  if (relaxed.size === 0) return;
  await tx.query(sql.type(zVoid)`
    update node_registry.uploads
    set relaxed_rules = array(select unnest(relaxed_rules) union select unnest(${textArray([...relaxed])}))
    where upload_id = ${uploadId}::uuid`);
}

/** Failed attempts whose reservation keys cannot matter any more. */
export async function forgetFailedUploads(db: Connection, now: Temporal.Instant, limit: number): Promise<number> {
  const { rowCount } = await db.query(sql.type(zVoid)`
    delete from node_registry.uploads
    where upload_id in (
      select upload_id from node_registry.uploads
      where due_at <= ${instant(now)} and state = 'failed'
      order by due_at
      limit ${limit}
      for update skip locked
    )`);
  return rowCount;
}

export async function isUserDeleted(db: Connection, userId: string): Promise<boolean> {
  return db.exists(sql.type(zVoid)`
    select from node_registry.deleted_users where user_id = ${userId}::uuid`);
}
