import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { runtimeReasons, setupReasons } from "#platform/postgres/setup-errors.ts";

const readme = readFileSync(path.join(import.meta.dirname, "README.md"), "utf8");

test("the operators' page quotes every message with a cure", () => {
  const missing = [...setupReasons, ...runtimeReasons].filter(({ message }) => !readme.includes(message));
  expect(missing.map(({ message }) => message)).toEqual([]);
});

test("the operators' page names every database command", () => {
  const scripts = JSON.parse(readFileSync(path.join(import.meta.dirname, "../package.json"), "utf8")).scripts;
  const commands = Object.keys(scripts).filter((name) => name.startsWith("db:"));
  expect(commands.filter((name) => !readme.includes(`npm run ${name}`))).toEqual([]);
});

test("the operators' page says what every index is for", () => {
  const folder = path.join(import.meta.dirname, "schema");
  const schemas = readdirSync(folder).map((file) => readFileSync(path.join(folder, file), "utf8"));
  const names = schemas.flatMap((text) =>
    [...text.matchAll(/^CREATE (?:UNIQUE )?INDEX (\S+) /gm)].map(([, name]) => name),
  );
  expect(names.length).toBeGreaterThan(20);
  expect(names.filter((name) => !readme.includes(`\`${name}\``))).toEqual([]);
});

test("the operators' page answers the original document's sections in their order", () => {
  const sections = [...readme.matchAll(/^## (.+)$/gm)].map(([, title]) => title);
  expect(sections).toEqual([
    ...["Schema", "Railway", "Local development", "Migrations", "Backup and restore", "Performance", "Security"],
    ...["Monitoring", "Troubleshooting", "Data migration from SQLite", "Development workflow", "Next steps"],
  ]);
});
