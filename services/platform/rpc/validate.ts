import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import { type FieldViolation, invalidArgument } from "./errors.ts";
import { fromDuration } from "./time.ts";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const HASH = /^[0-9a-f]{64}$/;
// 0001-01-01 and 9999-12-31T23:59:59, the range of google.protobuf.Timestamp.
const TIMESTAMP_MIN_SECONDS = -62_135_596_800n;
const TIMESTAMP_MAX_SECONDS = 253_402_300_799n;
const DURATION_MAX_SECONDS = 315_576_000_000n;

/** The rules of a request. `field` is the snake_case path as the client wrote it, such as "chunks[3].chunk_hash". */
export interface Check {
  uuid(field: string, value: string): void;
  /** 64 lowercase hex characters: chunk hashes, node ids, proof roots. */
  hash(field: string, value: string): void;
  /** Lengths count Unicode code points; NUL, which PostgreSQL cannot store, is always refused. */
  text(field: string, value: string, limits?: { min?: number; max?: number; maxBytes?: number }): void;
  int(field: string, value: number | bigint, range: { min?: number | bigint; max?: number | bigint }): void;
  /** A double: NaN and infinities are always refused. */
  number(field: string, value: number, range: { min?: number; max?: number }): void;
  count(field: string, list: readonly unknown[], limits: { min?: number; max?: number }): void;
  present(field: string, value: unknown): void;
  /** An enum field: one of the given values, which leave out the zero. */
  oneOf<T>(field: string, value: T, allowed: readonly T[]): void;
  instantPresent(field: string, value: Timestamp | undefined): void;
  durationPresent(field: string, value: Duration | undefined, range: { minMs?: number; maxMs?: number }): void;
  fail(field: string, rule: string): void;
}

/** Runs the rules, then throws one INVALID_ARGUMENT / INVALID_FIELD that names every field that breaks one. */
export function validate(rules: (check: Check) => void): void {
  const violations: FieldViolation[] = [];
  rules(createCheck((field, rule) => violations.push({ field, rule })));
  if (violations.length > 0) throw invalidArgument(violations.slice(0, MAX_VIOLATIONS));
}

// A request of 1,000 chunks can be wrong 1,000 times; details travel in headers, whose size clients limit (often 8 KiB).
const MAX_VIOLATIONS = 20;

function createCheck(fail: (field: string, rule: string) => void): Check {
  return {
    fail,
    uuid: (field, value) => {
      if (!UUID.test(value)) fail(field, "must be a UUID");
    },
    hash: (field, value) => {
      if (!HASH.test(value)) fail(field, "must be 64 lowercase hex characters");
    },
    text: (field, value, limits = {}) => {
      const rule = textRule(value, limits);
      if (rule !== undefined) fail(field, rule);
    },
    int: (field, value, range) => {
      if (isOutside(value, range)) fail(field, rangeRule(range));
    },
    number: (field, value, range) => {
      if (!Number.isFinite(value)) fail(field, "must be a finite number");
      else if (isOutside(value, range)) fail(field, rangeRule(range));
    },
    count: (field, list, limits) => {
      if (isOutside(list.length, limits)) fail(field, `must have ${spanOf(limits)} entries`);
    },
    present: (field, value) => {
      if (value === undefined || value === null || value === "") fail(field, "is required");
    },
    oneOf: (field, value, allowed) => {
      if (!allowed.includes(value)) fail(field, "must be one of the documented values");
    },
    instantPresent: (field, value) => {
      if (value === undefined) fail(field, "is required");
      else if (!isTimestamp(value)) fail(field, "must be a valid timestamp");
    },
    durationPresent: (field, value, range) => {
      if (value === undefined) fail(field, "is required");
      else if (!isDuration(value)) fail(field, "must be a valid duration");
      else if (isOutside(fromDuration(value), { min: range.minMs, max: range.maxMs })) {
        fail(field, durationRule(range));
      }
    },
  };
}

interface Range {
  min?: number | bigint | undefined;
  max?: number | bigint | undefined;
}

function isOutside(value: number | bigint, range: Range): boolean {
  return (range.min !== undefined && value < range.min) || (range.max !== undefined && value > range.max);
}

function spanOf(range: Range): string {
  const min = range.min?.toLocaleString("en-US");
  const max = range.max?.toLocaleString("en-US");
  if (min === undefined) return `at most ${max}`;
  return max === undefined ? `at least ${min}` : min === max ? min : `${min} to ${max}`;
}

function rangeRule(range: Range): string {
  if (range.min !== undefined && range.max !== undefined) return `must be between ${range.min} and ${range.max}`;
  return range.min === undefined ? `must be at most ${range.max}` : `must be at least ${range.min}`;
}

function durationRule(range: { minMs?: number; maxMs?: number }): string {
  const seconds = (ms: number | undefined) => (ms === undefined ? undefined : `${ms / 1_000}s`);
  const [min, max] = [seconds(range.minMs), seconds(range.maxMs)];
  if (min !== undefined && max !== undefined) return `must be between ${min} and ${max}`;
  return min === undefined ? `must be at most ${max}` : `must be at least ${min}`;
}

function textRule(value: string, limits: { min?: number; max?: number; maxBytes?: number }): string | undefined {
  // A string has at least as many UTF-16 units as code points, so only a suspect one is counted exactly.
  const length =
    value.length > (limits.max ?? 0) || value.length < 2 * (limits.min ?? 0) ? [...value].length : value.length;
  if (limits.min !== undefined && limits.min > 0 && value === "") return "is required";
  if (isOutside(length, limits)) return `must have ${spanOf(limits)} characters`;
  if (limits.maxBytes !== undefined && Buffer.byteLength(value) > limits.maxBytes) {
    return `must have at most ${limits.maxBytes.toLocaleString("en-US")} bytes`;
  }
  if (value.includes("\0")) return "must not contain the character U+0000";
  return value.isWellFormed() ? undefined : "must be well-formed Unicode";
}

function isTimestamp(value: Timestamp): boolean {
  const isInRange = value.seconds >= TIMESTAMP_MIN_SECONDS && value.seconds <= TIMESTAMP_MAX_SECONDS;
  return isInRange && value.nanos >= 0 && value.nanos <= 999_999_999;
}

function isDuration(value: Duration): boolean {
  const isInRange = value.seconds >= -DURATION_MAX_SECONDS && value.seconds <= DURATION_MAX_SECONDS;
  const isOneSign = !(value.seconds > 0n && value.nanos < 0) && !(value.seconds < 0n && value.nanos > 0);
  return isInRange && isOneSign && Math.abs(value.nanos) <= 999_999_999;
}
