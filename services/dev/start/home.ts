import { randomBytes } from "node:crypto";
import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { z } from "zod";
import { homeOfCommand } from "#platform/config/command-environment.ts";
import { end, isStillRunning, type RecordedProcess, recordedProcess } from "./processes.ts";

/** The folder that holds everything of one local control plane: data, logs, secrets, `dev.json`. */
export interface Home {
  readonly folder: string;
  path(...parts: string[]): string;
}

export function homeFolder(env: NodeJS.ProcessEnv): string {
  return resolve(homeOfCommand(env));
}

export async function openHome(env: NodeJS.ProcessEnv): Promise<Home> {
  const folder = homeFolder(env);
  await mkdir(join(folder, "logs"), { recursive: true, mode: 0o700 });
  await chmod(folder, 0o700);
  return { folder, path: (...parts) => join(folder, ...parts) };
}

const secretsSchema = z.object({
  keyEncryptionKey: z.string(),
  adminPassword: z.string(),
  serviceClients: z.record(z.string(), z.string()),
  databasePasswords: z.record(z.string(), z.string()),
  natsPasswords: z.record(z.string(), z.string()),
});
export type Secrets = z.infer<typeof secretsSchema>;

/** The secrets of this home, made once and kept, so that a second start finds its data readable. */
export async function openSecrets(home: Home, names: { clients: string[]; nats: string[]; databases: string[] }) {
  const path = home.path("secrets.json");
  const kept = await readJson(path, secretsSchema);
  const secret = () => randomBytes(24).toString("base64url");
  const fill = (known: Record<string, string> | undefined, wanted: string[]) =>
    Object.fromEntries(wanted.map((name) => [name, known?.[name] ?? secret()]));
  const secrets: Secrets = {
    keyEncryptionKey: kept?.keyEncryptionKey ?? randomBytes(32).toString("base64"),
    // As long as any PASSWORD_MIN_LENGTH.
    adminPassword: kept?.adminPassword ?? randomBytes(48).toString("base64url"),
    serviceClients: fill(kept?.serviceClients, names.clients),
    databasePasswords: fill(kept?.databasePasswords, names.databases),
    natsPasswords: fill(kept?.natsPasswords, names.nats),
  };
  await writePrivately(path, secrets);
  return secrets;
}

/**
 * Writes JSON that only its owner reads, by rename: a reader sees the old content or the new,
 * never half of it, also after a power cut.
 */
export async function writePrivately(path: string, content: unknown): Promise<void> {
  const draft = `${path}.${process.pid}.tmp`;
  await writeFile(draft, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600, flush: true });
  await rename(draft, path);
}

/** Undefined where the file is not there. What is wrong in it is not told: errors of the parser quote secrets. */
export async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    throw new Error(
      `${path} is damaged: restore it, or remove it (the data of a home folder are lost without its secrets.json)`,
    );
  }
}

const processListSchema = z.array(recordedProcess);

/** Ends what an earlier start of this home left running: its launcher first, so that it restarts nothing. */
export async function endEarlierProcesses(home: Home, say: (line: string) => void): Promise<void> {
  const earlier = (await readJson(home.path("processes.json"), processListSchema)) ?? [];
  for (const recorded of earlier) {
    if (recorded.pid === process.pid || !(await isStillRunning(recorded))) continue;
    say(`ending ${recorded.name} (pid ${recorded.pid}) of an earlier start in ${home.folder}`);
    await end(recorded, 30_000);
  }
}

export async function recordProcesses(home: Home, processes: readonly RecordedProcess[]): Promise<void> {
  await writePrivately(home.path("processes.json"), processes);
}
