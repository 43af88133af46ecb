import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { setupReasons } from "#platform/postgres/setup-errors.ts";

const readme = readFileSync(path.join(import.meta.dirname, "README.md"), "utf8");

test("the operators' page quotes every message of a failed connection", () => {
  const missing = setupReasons.filter(({ message }) => !readme.includes(message));
  expect(missing.map(({ message }) => message)).toEqual([]);
});

test("the operators' page names every database command", () => {
  const scripts = JSON.parse(readFileSync(path.join(import.meta.dirname, "../package.json"), "utf8")).scripts;
  const commands = Object.keys(scripts).filter((name) => name.startsWith("db:"));
  expect(commands.filter((name) => !readme.includes(`npm run ${name}`))).toEqual([]);
});
