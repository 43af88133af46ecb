import { create } from "@bufbuild/protobuf";
import { DurationSchema, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { RpcError } from "./errors.ts";
import { type Check, validate } from "./validate.ts";

function violationsOf(rules: (check: Check) => void): string[] {
  try {
    validate(rules);
  } catch (error) {
    if (error instanceof RpcError) return error.violations.map(({ field, rule }) => `${field} ${rule}`);
    throw error;
  }
  return [];
}

test("good values pass", () => {
  validate((check) => {
    check.uuid("user_id", "0197F3E0-0000-7000-8000-00000000000a");
    check.hash("chunk_hash", "0a".repeat(32));
    check.text("username", "åse 😀", { min: 1, max: 5 });
    check.text("reason", "");
    check.int("size_bytes", 2n ** 62n, { min: 1 });
    check.int("replicas", 10, { min: 1, max: 10 });
    check.number("share", 0.5, { min: 0, max: 1 });
    check.count("chunks", [1], { min: 1, max: 1_000 });
    check.present("address", {});
    check.oneOf("state", 2, [1, 2]);
    check.instantPresent("at", create(TimestampSchema, { seconds: -1n, nanos: 999_999_999 }));
    check.durationPresent("ttl", create(DurationSchema, { seconds: 1n }), { minMs: 1_000, maxMs: 1_000 });
  });
});

test.each<[string, (check: Check) => void]>([
  ["user_id must be a UUID", (check) => check.uuid("user_id", "0197f3e000007000800000000000000a")],
  ["user_id must be a UUID", (check) => check.uuid("user_id", "")],
  ["h must be 64 lowercase hex characters", (check) => check.hash("h", "0A".repeat(32))],
  ["h must be 64 lowercase hex characters", (check) => check.hash("h", `${"0a".repeat(32)}\n`)],
  ["name is required", (check) => check.text("name", "", { min: 1 })],
  ["name must have 2 to 80 characters", (check) => check.text("name", "😀", { min: 2, max: 80 })],
  ["name must have at most 2 characters", (check) => check.text("name", "abc", { max: 2 })],
  ["name must have at most 3 bytes", (check) => check.text("name", "åå", { maxBytes: 3 })],
  ["name must not contain the character U+0000", (check) => check.text("name", "a\0b")],
  ["name must be well-formed Unicode", (check) => check.text("name", "\ud800")],
  ["n must be between 1 and 10", (check) => check.int("n", 11, { min: 1, max: 10 })],
  ["n must be at least 0", (check) => check.int("n", -1n, { min: 0 })],
  ["n must be at most 5", (check) => check.int("n", 6, { max: 5n })],
  ["x must be a finite number", (check) => check.number("x", Number.NaN, { min: 0 })],
  ["x must be between 0 and 1", (check) => check.number("x", 1.1, { min: 0, max: 1 })],
  ["list must have 1 to 1,000 entries", (check) => check.count("list", [], { min: 1, max: 1_000 })],
  ["list must have 256 entries", (check) => check.count("list", [1], { min: 256, max: 256 })],
  ["a is required", (check) => check.present("a", undefined)],
  ["s must be one of the documented values", (check) => check.oneOf("s", 0, [1, 2])],
  ["t is required", (check) => check.instantPresent("t", undefined)],
  ["t must be a valid timestamp", (check) => check.instantPresent("t", create(TimestampSchema, { nanos: -1 }))],
  [
    "t must be a valid timestamp",
    (check) => check.instantPresent("t", create(TimestampSchema, { seconds: 2n ** 60n })),
  ],
  ["d is required", (check) => check.durationPresent("d", undefined, {})],
  [
    "d must be a valid duration",
    (check) => check.durationPresent("d", create(DurationSchema, { seconds: 1n, nanos: -1 }), {}),
  ],
  [
    "d must be between 1s and 604800s",
    (check) => check.durationPresent("d", create(DurationSchema), { minMs: 1_000, maxMs: 604_800_000 }),
  ],
])("%s", (violation, rules) => {
  expect(violationsOf(rules)).toEqual([violation]);
});

test("all violations are told at once, in one message that names each, up to twenty", () => {
  const violations = violationsOf((check) => {
    for (let i = 0; i < 1_000; i++) check.hash(`chunks[${i}].chunk_hash`, "x");
  });
  expect(violations).toHaveLength(20);
  expect(() =>
    validate((check) => {
      check.uuid("user_id", "x");
      check.fail("address.port", "must not be 0");
    }),
  ).toThrow("user_id must be a UUID; address.port must not be 0");
});
