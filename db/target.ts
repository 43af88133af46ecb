import { readDevFile } from "#platform/config/command-environment.ts";
import type { Schema } from "#platform/config/service-config.ts";
import { schemas } from "#platform/migrations/files.ts";
import { adviceOf } from "#platform/postgres/setup-errors.ts";

/** Says to a person what to do; commands print it without a stack. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/**
 * The database that a command acts on: DATABASE_URL, or the one that `npm start` runs.
 *
 * @throws UsageError when there is neither.
 */
export function databaseUrlOfCommand(env: NodeJS.ProcessEnv = process.env): string {
  const url = env.DATABASE_URL || readDevFile(env)?.databaseUrl;
  if (url !== undefined) return url;
  throw new UsageError(
    "no database: set DATABASE_URL=postgres://user:password@host:port/database, or start the local one with npm start",
  );
}

/** NATS_URL, or the local one where the command acts on the local installation. */
export function natsUrlOfCommand(env: NodeJS.ProcessEnv = process.env): string | undefined {
  if (env.NATS_URL) return env.NATS_URL;
  const local = readDevFile(env);
  return !env.DATABASE_URL || env.DATABASE_URL === local?.databaseUrl ? local?.natsUrl : undefined;
}

/** The schema that an option names, or all. */
export function schemasOfOption(name: string | undefined): readonly Schema[] {
  const wanted = schemas.filter((known) => name === undefined || known === name);
  if (wanted.length > 0) return wanted;
  throw new UsageError(`there is no schema ${name}: choose one of ${schemas.join(", ")}`);
}

/** Runs a command and turns its failure into one readable message and exit code 1. */
export async function runCommand(work: () => Promise<number>): Promise<void> {
  for (const output of [process.stdout, process.stderr]) output.on("error", ignoreClosedPipe);
  try {
    process.exitCode = await work();
  } catch (error) {
    process.exitCode = 1;
    const advice = error instanceof UsageError ? undefined : adviceOf(error);
    const messages = error instanceof Error ? chainOf(error) : [String(error)];
    const known = advice === undefined || messages.some((message) => message.includes(advice)) ? [] : [advice];
    console.error([...known, ...messages].join("\n  because: "));
  }
}

/** Who reads the output may stop reading (`| head`): the work goes on to its end, a restore is not left half done. */
function ignoreClosedPipe(error: Error): void {
  if (Reflect.get(error, "code") !== "EPIPE") throw error;
}

/** The messages of an error and its causes, each once. */
function chainOf(error: Error): readonly string[] {
  const messages: string[] = [];
  for (let current: unknown = error; current instanceof Error; current = current.cause) {
    const message = current.message || current.name;
    if (!messages.some((earlier) => earlier.includes(message))) messages.push(message);
  }
  return messages;
}
