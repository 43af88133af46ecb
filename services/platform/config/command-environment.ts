import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";

/** Where `npm start` keeps things. */
export function homeOfCommand(env: NodeJS.ProcessEnv = process.env): string {
  return env.DECENTRASTORE_HOME || path.join(import.meta.dirname, "../../../.decentrastore");
}

const devFile = z.object({ databaseUrl: z.string(), natsUrl: z.string() });

/** What `npm start` wrote about the local installation. */
export function readDevFile(env: NodeJS.ProcessEnv): z.output<typeof devFile> | undefined {
  return readHomeFile(env, "dev.json", devFile);
}

/**
 * The environment of an operator's command: where no variable names another database, the command acts on the local one
 * that `npm start` runs or uses, and opens the keys in it.
 */
export function commandEnvironment(ownDatabaseUrl: string, env = process.env): NodeJS.ProcessEnv {
  const local = readDevFile(env);
  if (local === undefined) return env;
  // A shell that gave `npm start` its DATABASE_URL still names it: that is the local network, and its key is at home.
  const named = env[ownDatabaseUrl] || env.DATABASE_URL;
  if (named && named !== local.databaseUrl) return env;
  const secrets = readHomeFile(env, "secrets.json", z.object({ keyEncryptionKey: z.string() }));
  const key = env.KEY_ENCRYPTION_KEY || secrets?.keyEncryptionKey;
  return { ...env, DATABASE_URL: local.databaseUrl, ...(key !== undefined && { KEY_ENCRYPTION_KEY: key }) };
}

function readHomeFile<T>(env: NodeJS.ProcessEnv, name: string, schema: z.ZodType<T>): T | undefined {
  const file = path.join(homeOfCommand(env), name);
  return existsSync(file) ? schema.parse(JSON.parse(readFileSync(file, "utf8"))) : undefined;
}
