import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { z } from "zod";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql, zBytes } from "#platform/postgres/sql.ts";

/** Events of one type in the outbox, oldest first. */
export async function eventsOf<D extends DescMessage>(pool: Pool, schema: D): Promise<MessageShape<D>[]> {
  const payloads = await pool.anyFirst(sql.type(z.strictObject({ payload: zBytes }))`
    select payload from node_registry.outbox where type = ${schema.typeName} order by id`);
  return payloads.map((payload) => fromBinary(schema, payload));
}
