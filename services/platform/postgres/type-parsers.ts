import pg from "pg";
import { parse as parseArray } from "postgres-array";

type Parser = (value: string) => unknown;

const asText: Parser = (value) => value;

/** The fixed oid of a type and of its array. */
const types: readonly { oid: number; arrayOid: number; parse: Parser }[] = [
  { oid: 20, arrayOid: 1016, parse: (value) => BigInt(value) },
  { oid: 1184, arrayOid: 1185, parse: parseInstant },
  { oid: 1082, arrayOid: 1182, parse: asText },
  { oid: 1114, arrayOid: 1115, parse: asText },
  { oid: 1186, arrayOid: 1187, parse: asText },
  { oid: 1700, arrayOid: 1231, parse: asText },
];

const parsers = new Map<number, Parser>(
  types.flatMap(({ oid, arrayOid, parse }): [number, Parser][] => [
    [oid, parse],
    [arrayOid, (value) => parseArray(value, parse)],
  ]),
);

let latestInstant: { readonly text: string; readonly instant: Temporal.Instant } | undefined;

/** Rows that one transaction wrote often have the same time: then they share one object, which cannot be changed. */
function parseInstant(text: string): Temporal.Instant {
  if (latestInstant?.text !== text) latestInstant = { text, instant: Temporal.Instant.from(text) };
  return latestInstant.instant;
}

/**
 * How values leave the database. int8 is a bigint and timestamptz a Temporal.Instant, both without loss; dates without
 * a zone stay text, because a Date would move them by the zone of this process. A domain arrives as its base type.
 */
export const typeParsers: pg.CustomTypesConfig = {
  getTypeParser: (oid: number, format?: "text" | "binary") =>
    (format === "binary" ? undefined : parsers.get(oid)) ?? pg.types.getTypeParser(oid, format ?? "text"),
};
