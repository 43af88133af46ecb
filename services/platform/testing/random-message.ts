import {
  create,
  type DescEnum,
  type DescField,
  type DescMessage,
  type MessageShape,
  ScalarType,
} from "@bufbuild/protobuf";
import { type ReflectMessage, reflect } from "@bufbuild/protobuf/reflect";

/** Numbers from 0 (inclusive) to 1. */
export type Random = () => number;

/** Repeatable: the same seed gives the same messages (mulberry32). */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const MAX_DEPTH = 4;

/**
 * A valid message of any type with content that nobody would send: every field is absent, at an edge of its range, or
 * just likely enough (uuids, hashes) to get past the first check. It can always be encoded.
 */
export function randomMessage<D extends DescMessage>(schema: D, random: Random): MessageShape<D> {
  const message = create(schema);
  fill(reflect(schema, message), random, 0);
  return message;
}

function fill(message: ReflectMessage, random: Random, depth: number): void {
  for (const field of message.fields) {
    // Each case of a oneof replaces the one before it.
    if (random() < 0.2) continue;
    switch (field.fieldKind) {
      case "scalar":
        message.set(field, randomScalar(field.scalar, random));
        break;
      case "enum":
        message.set(field, randomEnum(field.enum, random));
        break;
      case "message":
        if (depth < MAX_DEPTH) message.set(field, randomReflected(field.message, random, depth));
        break;
      case "list": {
        const list = message.get(field);
        for (let count = randomCount(random); count > 0; count--) list.add(randomItem(field, random, depth));
        break;
      }
      case "map": {
        const map = message.get(field);
        for (let count = randomCount(random); count > 0; count--) {
          map.set(randomMapKey(field.mapKey, random), randomItem(field, random, depth));
        }
        break;
      }
    }
  }
}

function randomReflected(schema: DescMessage, random: Random, depth: number): ReflectMessage {
  const message = reflect(schema);
  fill(message, random, depth + 1);
  return message;
}

function randomItem(field: DescField & { fieldKind: "list" | "map" }, random: Random, depth: number) {
  const kind = field.fieldKind === "list" ? field.listKind : field.mapKind;
  if (kind === "enum" && field.enum !== undefined) return randomEnum(field.enum, random);
  if (kind === "message" && field.message !== undefined) return randomReflected(field.message, random, depth);
  return randomScalar(field.scalar ?? ScalarType.STRING, random);
}

function randomCount(random: Random): number {
  return pick(random, [0, 1, 1, 2, 3, 10, 300]);
}

function randomMapKey(type: ScalarType, random: Random): string | number | bigint | boolean {
  const key = randomScalar(type, random);
  return key instanceof Uint8Array ? "" : key;
}

function randomEnum(type: DescEnum, random: Random): number {
  const known = type.values.map(({ number }) => number);
  return pick(random, [...known, 99, -1]);
}

function randomScalar(type: ScalarType, random: Random): string | number | bigint | boolean | Uint8Array {
  switch (type) {
    case ScalarType.STRING:
      return randomText(random);
    case ScalarType.BYTES:
      return randomBytes(random);
    case ScalarType.BOOL:
      return random() < 0.5;
    case ScalarType.DOUBLE:
      return pick(random, [0, -0, 1.5, -1e308, 5e-324, Number.NaN, Number.POSITIVE_INFINITY, random()]);
    case ScalarType.FLOAT:
      return pick(random, [0, 1.5, Number.NaN, Number.NEGATIVE_INFINITY]);
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return pick(random, [
        0n,
        1n,
        -1n,
        2n ** 63n - 1n,
        -(2n ** 63n),
        2n ** 53n + 1n,
        BigInt(Math.floor(random() * 1e6)),
      ]);
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return pick(random, [0n, 1n, 2n ** 64n - 1n]);
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return pick(random, [0, 1, 2 ** 32 - 1]);
    default:
      return pick(random, [0, 1, -1, 2 ** 31 - 1, -(2 ** 31), Math.floor(random() * 100)]);
  }
}

const TEXTS = [
  "",
  " ",
  "a",
  "\0",
  "line\r\nbreak",
  "' or 1=1; --",
  "{{7*7}}",
  "../../etc/passwd",
  "\u202e\u0000\ufeff",
  "😀".repeat(50),
  "ﬁ\u0301\u0301\u0301",
  "x".repeat(10_000),
  "null",
  "-1",
  "2026-01-01T00:00:00Z",
  "00000000-0000-0000-0000-000000000000",
];

function randomText(random: Random): string {
  if (random() < 0.3) return randomHex(random, 64);
  if (random() < 0.3) {
    return randomHex(random, 32).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  }
  return pick(random, TEXTS);
}

function randomHex(random: Random, length: number): string {
  return Array.from({ length }, () => Math.floor(random() * 16).toString(16)).join("");
}

function randomBytes(random: Random): Uint8Array {
  return Uint8Array.from({ length: pick(random, [0, 1, 8, 31, 32, 33, 10_000]) }, () => Math.floor(random() * 256));
}

function pick<T>(random: Random, values: readonly T[]): T {
  const value = values[Math.floor(random() * values.length)];
  if (value === undefined) throw new Error("nothing to pick from");
  return value;
}
