import { inspect } from "node:util";
import { expect, test } from "vitest";
import type { z } from "zod";
import { ConfigError, loadConfig } from "./load-config.ts";
import { serviceConfigShape } from "./service-config.ts";
import { base64Key, duration, flag, httpUrl, integer, natsUrl, port, secret, sizes, stringList } from "./types.ts";

function problemsOf(shape: z.ZodRawShape, env: NodeJS.ProcessEnv): readonly string[] {
  try {
    loadConfig(shape, env);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

test.each([
  ["0", 0],
  ["250ms", 250],
  ["15s", 15_000],
  ["1.5m", 90_000],
  ["24h", 86_400_000],
  ["7d", 604_800_000],
  ["16.1s", 16_100],
  ["1.1d", 95_040_000],
  ["0.6ms", 1],
  ["36500d", 3_153_600_000_000],
])("the duration %s is %d milliseconds", (text, ms) => {
  expect(loadConfig({ TTL: duration() }, { TTL: text })).toEqual({ TTL: ms });
});

test.each(["15", "s", "-1s", "1 s", "1w", "1e3s", "36501d", "Infinity"])("the duration %s is refused", (text) => {
  expect(problemsOf({ TTL: duration() }, { TTL: text })[0]).toContain("TTL must be a duration");
});

test("sizes belong to known names, each once and of a least size", () => {
  const shape = { SIZES: sizes(["A", "B"], { min: 10 }) };
  expect(loadConfig(shape, { SIZES: "B=10, A=8589934592" })).toEqual({
    SIZES: new Map([
      ["B", 10],
      ["A", 8_589_934_592],
    ]),
  });
  for (const wrong of ["C=10", "A=9", "A=10,A=11", "A", "A=10=11", "A=1e3", "A=-10", ","]) {
    expect(problemsOf(shape, { SIZES: wrong })[0], wrong).toContain("SIZES must be NAME=bytes");
  }
});

test("every problem is reported at once, each with its variable, and no secret is quoted", () => {
  const shape = {
    A: integer({ min: 1, max: 3 }),
    B: port(),
    C: flag(),
    D: secret(),
    E: base64Key(32),
    F: httpUrl(),
    G: natsUrl(),
  };
  const problems = problemsOf(shape, {
    A: "4",
    B: "x",
    C: "maybe",
    E: "opensesame",
    F: "http://u:opensesame@h",
    G: "x",
  });
  expect(problems.map((p) => p.split(" ")[0])).toEqual(["A", "B", "C", "D", "E", "F", "G"]);
  expect(problems[3]).toBe("D is required");
  expect([problems[4], problems[6]].join()).not.toContain("sesame");
});

test("a secret is printed by nothing", () => {
  const { D } = loadConfig({ D: secret() }, { D: "opensesame" });
  expect([String(D), JSON.stringify({ D }), inspect({ D }), `${D}`].join()).not.toContain("opensesame");
  expect(D.reveal()).toBe("opensesame");
});

test("an empty variable counts as unset, and lists drop empty items", () => {
  const shape = { L: stringList().default([]), N: integer().default(7) };
  expect(loadConfig(shape, { N: "", L: "a, b,,c" })).toEqual({ N: 7, L: ["a", "b", "c"] });
});

test("a service prefers its own database URL over the general one", () => {
  const { DATABASE_URL } = serviceConfigShape("user-quota");
  const both = { DATABASE_URL: "postgres://a@h/shared", USER_QUOTA_DATABASE_URL: "postgresql://b@h/own" };
  const own = loadConfig({ DATABASE_URL }, both).DATABASE_URL;
  expect([own.reveal(), own.isShared]).toEqual(["postgresql://b@h/own", false]);
  const shared = loadConfig({ DATABASE_URL }, { DATABASE_URL: "postgres://a@h/shared" }).DATABASE_URL;
  expect([shared.reveal(), shared.isShared]).toEqual(["postgres://a@h/shared", true]);
  expect(problemsOf({ DATABASE_URL }, {})).toEqual(["USER_QUOTA_DATABASE_URL or DATABASE_URL is required"]);
  const wrong = problemsOf({ DATABASE_URL }, { DATABASE_URL: "mysql://root:opensesame@h/x" });
  expect(wrong[0]).toContain("must begin with postgres://");
  expect(wrong[0]).not.toContain("sesame");
});
