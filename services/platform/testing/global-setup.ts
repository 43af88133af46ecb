import { randomBytes } from "node:crypto";
import pg from "pg";
import type { TestProject } from "vitest/node";
import { startEmbeddedPostgres } from "../../dev/embedded-postgres.ts";
import { findNatsServer } from "../../dev/nats-server-binary.ts";
import type { Schema } from "../config/service-config.ts";
import { schemas } from "../migrations/files.ts";
import { migrate } from "../migrations/migrate.ts";
import { setPassword } from "../migrations/roles.ts";
import { createTempFolder } from "./temp-folder.ts";

/** What the test files get to know of the server. */
export interface TestServer {
  readonly superuserUrl: string;
  readonly template: string;
  /** One for all roles of all schemas. */
  readonly rolePassword: string;
  /** Schemas whose migrations fail, with the reason: only the tests that use them fail. */
  readonly failures: Partial<Record<Schema, string>>;
}

declare module "vitest" {
  export interface ProvidedContext {
    testServer: TestServer;
  }
}

const template = "template_decentrastore";

/** One PostgreSQL for the run with a migrated template, from which each test file clones its databases. */
export async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  if (project.vitest.projects.every(({ name }) => name === "unit")) return undefined;
  // Fetched here where it is not installed: a test has no time for that. Tests that need it tell why it is not there.
  await findNatsServer(process.env, console.warn).catch((error: Error) => console.warn(error.message));
  const folder = createTempFolder();
  // The bin folder of another version, to run the tests on the oldest that is supported.
  const binFolder = process.env.TEST_POSTGRES_BIN;
  const server = await startEmbeddedPostgres({
    folder: folder.path,
    fsync: false,
    database: template,
    ...(binFolder !== undefined && { binFolder }),
  });
  const stop = async () => {
    await server.stop();
    await folder[Symbol.asyncDispose]();
  };
  try {
    const rolePassword = randomBytes(18).toString("base64url");
    const failures = await migrateTemplate(server.url, rolePassword);
    project.provide("testServer", { superuserUrl: server.url, template, rolePassword, failures });
    return stop;
  } catch (error) {
    await stop();
    throw error;
  }
}

async function migrateTemplate(url: string, password: string): Promise<TestServer["failures"]> {
  const failures: Partial<Record<Schema, string>> = {};
  for (const schema of schemas) {
    try {
      await migrate({ url, schemas: [schema] });
    } catch (error) {
      failures[schema] = error instanceof Error ? error.message : String(error);
    }
  }
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    for (const schema of schemas) {
      await setPassword(client, `${schema}_owner`, password);
      await setPassword(client, `${schema}_app`, password);
    }
  } finally {
    await client.end();
  }
  return failures;
}
