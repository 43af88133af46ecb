import { spawnSync } from "node:child_process";
import { readMigrations, schemas } from "#platform/migrations/files.ts";
import { findSessionState } from "./migrations-session-state.ts";

// Migrations run under load: squawk finds statements that lock a table for long or break running services, and asks
// for a lock_timeout and statement_timeout in each file. Left out are matters of taste: the files run once (no "if not
// exists"), and column types follow the original database document.
const excluded = [
  "prefer-robust-stmts",
  "prefer-text-field",
  "prefer-bigint-over-int",
  "prefer-bigint-over-smallint",
].join(",");

const files = schemas.flatMap((schema) => readMigrations(schema));
const foreign = files.flatMap(({ schema, name, sql }) => {
  const others = schemas.filter((other) => other !== schema && new RegExp(`\\b${other}\\.[a-z_]`).test(sql));
  return others.map((other) => `${schema}/${name}.sql names the schema ${other}, which belongs to another service`);
});
const sessionState = findSessionState();
for (const line of [...foreign, ...sessionState]) console.log(line);

const flags = ["--assume-in-transaction", "--pg-version=15", "--reporter=gcc", "-e", excluded];
const lint = (some: typeof files, more: readonly string[]) =>
  some.length === 0
    ? 0
    : (spawnSync("squawk", [...more, ...some.map(({ file }) => file)], { stdio: "inherit" }).status ?? 1);
const inTransaction = lint(
  files.filter(({ isTransactional }) => isTransactional),
  flags,
);
const alone = lint(
  files.filter(({ isTransactional }) => !isTransactional),
  flags.slice(1),
);
process.exitCode = foreign.length + sessionState.length + inTransaction + alone === 0 ? 0 : 1;
