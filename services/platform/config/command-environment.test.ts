import { writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { createTempFolder } from "../testing/temp-folder.ts";
import { commandEnvironment } from "./command-environment.ts";

const home = createTempFolder();
afterAll(() => home[Symbol.asyncDispose]());

test("a command acts on the database that is named, else on the one that npm start runs", () => {
  const env = { DECENTRASTORE_HOME: home.path };
  expect(commandEnvironment("AUTH_DATABASE_URL", env)).toEqual(env);
  writeFileSync(path.join(home.path, "dev.json"), JSON.stringify({ databaseUrl: "postgres://local/x", natsUrl: "-" }));
  writeFileSync(path.join(home.path, "secrets.json"), JSON.stringify({ keyEncryptionKey: "local" }));
  const local = { ...env, DATABASE_URL: "postgres://local/x", KEY_ENCRYPTION_KEY: "local" };
  expect(commandEnvironment("AUTH_DATABASE_URL", { ...env, DATABASE_URL: "" })).toEqual(local);
  expect(commandEnvironment("AUTH_DATABASE_URL", { ...env, KEY_ENCRYPTION_KEY: "own" })).toEqual({
    ...local,
    KEY_ENCRYPTION_KEY: "own",
  });
  const named = { ...env, AUTH_DATABASE_URL: "postgres://named/x" };
  expect(commandEnvironment("AUTH_DATABASE_URL", named)).toEqual(named);
});

test("a command of the shell that gave npm start its database opens the keys in it", () => {
  const env = { DECENTRASTORE_HOME: home.path, DATABASE_URL: "postgres://own/x" };
  writeFileSync(path.join(home.path, "dev.json"), JSON.stringify({ databaseUrl: "postgres://own/x", natsUrl: "-" }));
  writeFileSync(path.join(home.path, "secrets.json"), JSON.stringify({ keyEncryptionKey: "at home" }));
  const opened = { ...env, KEY_ENCRYPTION_KEY: "at home" };
  expect(commandEnvironment("AUTH_DATABASE_URL", env)).toEqual(opened);
  const other = { ...env, DATABASE_URL: "postgres://other/x" };
  expect(commandEnvironment("AUTH_DATABASE_URL", other)).toEqual(other);
  const own = { ...env, AUTH_DATABASE_URL: "postgres://other/x" };
  expect(commandEnvironment("AUTH_DATABASE_URL", own)).toEqual(own);
});
