import { createSqlTag } from "slonik";
import { z } from "zod";
import { bytesToBinary, hexToBinary, uuidsToBinary } from "./binary-array.ts";

/** Slonik's tag; every query names its row schema: sql.type(z.strictObject({ id: zUuid }))`select ...`. */
export const sql = createSqlTag();

export const zInstant = z.instanceof(Temporal.Instant);
export const zInt8 = z.bigint();
export const zBytes = z.instanceof(Buffer);
/** Any UUID that PostgreSQL stores: clients choose ids of every version, also of none that RFC 9562 knows. */
export const zUuid = z.guid();
/** For statements that return no rows. */
export const zVoid = z.strictObject({});

/** Binds an instant, or its text, with its microseconds; slonik's own `sql.timestamp` keeps only milliseconds. */
export function instant(value: Temporal.Instant | string) {
  return sql.fragment`${value.toString()}::timestamptz`;
}

export function bytes(value: Uint8Array) {
  return sql.fragment`${sql.binary(asBuffer(value))}::bytea`;
}

/** Binds a hex string, such as a chunk_hash or node_id, as its bytes. */
export function hexBytes(hex: string) {
  return sql.fragment`${sql.binary(Buffer.from(hex, "hex"))}::bytea`;
}

/**
 * Arrays are bound as the text that PostgreSQL reads anyway: made in one go it costs a quarter of what slonik and the
 * driver take to check and quote item by item, which is much of the cost of a large batch. Where the binary form is
 * shorter (uuid, bytea) they are bound in that.
 */
function literal(items: readonly string[]): string {
  return `{${items.join(",")}}`;
}

function quoted(value: string | null): string {
  if (value === null) return "null";
  return /["\\]/.test(value) ? `"${value.replace(/["\\]/g, "\\$&")}"` : `"${value}"`;
}

export function textArray(values: readonly (string | null)[]) {
  return sql.fragment`${literal(values.map(quoted))}::text[]`;
}

export function int4Array(values: readonly (number | null)[]) {
  return sql.fragment`${literal(values.map(String))}::int4[]`;
}

export function int8Array(values: readonly (bigint | number | null)[]) {
  return sql.fragment`${literal(values.map(String))}::int8[]`;
}

export function float8Array(values: readonly (number | null)[]) {
  return sql.fragment`${literal(values.map(String))}::float8[]`;
}

export function boolArray(values: readonly boolean[]) {
  return sql.fragment`${literal(values.map(String))}::bool[]`;
}

export function uuidArray(values: readonly (string | null)[]) {
  return sql.fragment`${sql.binary(uuidsToBinary(values))}::uuid[]`;
}

export function byteaArray(values: readonly (Uint8Array | null)[]) {
  return sql.fragment`${sql.binary(bytesToBinary(values))}::bytea[]`;
}

/** The bytes of hex strings, such as chunk hashes. */
export function hexBytesArray(values: readonly (string | null)[]) {
  return sql.fragment`${sql.binary(hexToBinary(values))}::bytea[]`;
}

export function instantArray(values: readonly (Temporal.Instant | string | null)[]) {
  return sql.fragment`${literal(values.map((value) => quoted(value?.toString() ?? null)))}::timestamptz[]`;
}

/** The driver takes only Buffers; this one shares the memory of the array. */
function asBuffer(value: Uint8Array): Buffer {
  return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}
