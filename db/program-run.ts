import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { parseDatabaseUrl } from "#platform/postgres/url.ts";

/** The environment for PostgreSQL's own programs: with it no password stands in a process list. */
export function programEnvironment(url: string): NodeJS.ProcessEnv {
  const target = parseDatabaseUrl(url);
  const parameters = URL.parse(url)?.searchParams;
  return {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    PGDATABASE: target.database,
    PGAPPNAME: "decentrastore backup",
    // libpq knows no name for "encrypt and check nothing" but the one that also checks nothing without a root certificate.
    PGSSLMODE: target.sslMode === "no-verify" ? "require" : target.sslMode,
    ...(target.host !== undefined && { PGHOST: target.host }),
    ...(target.port !== undefined && { PGPORT: String(target.port) }),
    ...(target.user !== undefined && { PGUSER: target.user }),
    ...(target.password !== undefined && { PGPASSWORD: target.password }),
    ...(target.options !== undefined && { PGOPTIONS: target.options }),
    ...(parameters?.has("sslrootcert") && { PGSSLROOTCERT: parameters.get("sslrootcert") ?? "" }),
    ...(parameters?.has("sslcert") && { PGSSLCERT: parameters.get("sslcert") ?? "" }),
    ...(parameters?.has("sslkey") && { PGSSLKEY: parameters.get("sslkey") ?? "" }),
  };
}

/**
 * Runs one of PostgreSQL's programs with `--verbose` and reports its lines.
 *
 * @throws Error with the program's last lines when it fails, or the signal's reason once the program has ended for it.
 */
export async function runProgram(
  file: string,
  parameters: readonly string[],
  env: NodeJS.ProcessEnv,
  onLine: (line: string) => void,
  signal?: AbortSignal,
): Promise<void> {
  const child = spawn(file, parameters, { env, stdio: ["ignore", "ignore", "pipe"] });
  // Not given to spawn, which reports the abort while the program still runs and may still commit.
  const stop = () => void child.kill();
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  const last: string[] = [];
  const reader = createInterface({ input: child.stderr });
  reader.on("line", (line) => {
    onLine(line);
    last.push(line);
    if (last.length > 10) last.shift();
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  }).finally(() => signal?.removeEventListener("abort", stop));
  signal?.throwIfAborted();
  if (code !== 0) throw new Error(`${file} ended with ${code}:\n${last.join("\n")}`);
}
