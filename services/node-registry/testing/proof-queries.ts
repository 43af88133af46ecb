import { Code, ConnectError } from "@connectrpc/connect";
import { z } from "zod";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql, zInt8 } from "#platform/postgres/sql.ts";

const zReplica = z.strictObject({
  node_id: zInt8,
  proof_count: z.int(),
  is_verified: z.boolean(),
  is_stored: z.boolean(),
});

/** Replicas of a chunk in the order of their assignment. */
export async function replicasOf(pool: Pool, chunkHash: string) {
  return pool.any(sql.type(zReplica)`
    select node_id, proof_count, verified_at is not null as is_verified, stored_at is not null as is_stored
    from node_registry.chunk_storage where chunk_hash = decode(${chunkHash}, 'hex') order by id`);
}

/** What was published about a key, in order: the last word of each type. */
export async function eventsAbout(pool: Pool, key: string): Promise<string[]> {
  const rows = await pool.any(sql.type(z.strictObject({ type: z.string() }))`
    select type from node_registry.outbox where key = ${key} order by id`);
  return rows.map((row) => row.type.split(".").at(-1) ?? "");
}

export async function evidenceOf(pool: Pool, nodeRowId: bigint): Promise<string[]> {
  const rows = await pool.any(sql.type(z.strictObject({ kind: z.string() }))`
    select kind from node_registry.reputation_evidence where node_id = ${nodeRowId} order by id`);
  return rows.map((row) => row.kind);
}

export async function countRows(
  pool: Pool,
  table: "proof_challenges" | "proof_strikes" | "chunk_repairs" | "under_replicated_chunks",
): Promise<number> {
  const { count } = await pool.one(sql.type(z.strictObject({ count: zInt8 }))`
    select count(*) as count from ${sql.identifier(["node_registry", table])}`);
  return Number(count);
}

/** "ok", or the code and reason of the failure. */
export async function refusalOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "ok";
  } catch (thrown) {
    const error = ConnectError.from(thrown);
    const reason = error.findDetails(ErrorInfoSchema)[0]?.reason ?? error.rawMessage;
    return `${Code[error.code]} ${reason}`;
  }
}
