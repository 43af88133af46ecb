import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Runs one of the project's own commands and returns what it printed; throws with what it complained of. */
export async function runCommand(script: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<string> {
  try {
    const { stdout } = await run(process.execPath, [script, ...args], { env });
    return stdout;
  } catch (cause) {
    const complaint = cause instanceof Error && "stderr" in cause ? String(cause.stderr).trim() : "";
    throw new Error(`${script} failed: ${complaint || String(cause)}`, { cause });
  }
}
