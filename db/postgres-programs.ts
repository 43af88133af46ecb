import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { UsageError } from "./target.ts";

/** A program of PostgreSQL's client package and its major version. */
export interface Program {
  readonly file: string;
  readonly major: number;
}

/** Where distributions, Homebrew and the installers of macOS put several versions side by side. */
const versionedFolders = [
  { folder: "/usr/lib/postgresql", inside: "bin" },
  { folder: "/usr/pgsql", inside: "bin" },
  { folder: "/opt/homebrew/opt", inside: "bin" },
  { folder: "/usr/local/opt", inside: "bin" },
  { folder: "/Applications/Postgres.app/Contents/Versions", inside: "bin" },
  { folder: "/Library/PostgreSQL", inside: "bin" },
];

function foldersOf(env: NodeJS.ProcessEnv): readonly string[] {
  const onPath = (env.PATH ?? "").split(path.delimiter).filter((folder) => folder !== "");
  const versioned = versionedFolders.flatMap(({ folder, inside }) => {
    if (!existsSync(folder)) return [];
    return readdirSync(folder).map((name) => path.join(folder, name, inside));
  });
  return [...onPath, ...versioned];
}

/** All copies of a program on the PATH and in PostgreSQL's own folders. */
export function findPrograms(name: string, env: NodeJS.ProcessEnv = process.env): readonly Program[] {
  const files = foldersOf(env).map((folder) => path.join(folder, name));
  return [...new Set(files)].flatMap((file) => {
    if (!existsSync(file)) return [];
    const { stdout } = spawnSync(file, ["--version"], { encoding: "utf8" });
    const major = Number(/\b(\d+)(?:\.\d+|beta|rc|devel)/.exec(stdout ?? "")?.[1]);
    return Number.isInteger(major) ? [{ file, major }] : [];
  });
}

/**
 * The oldest copy that is at least as new as `major`: an older pg_dump refuses a newer server, and the nearest version
 * writes the archive that most others can read.
 *
 * @throws UsageError that names what was found and how to get what is missing.
 */
export function programFor(name: string, major: number, env: NodeJS.ProcessEnv = process.env): Program {
  const found = findPrograms(name, env);
  const [best] = found.filter((program) => program.major >= major).sort((a, b) => a.major - b.major);
  if (best !== undefined) return best;
  const versions =
    found.length === 0 ? "none was found" : `found ${found.map((p) => `${p.file} (${p.major})`).join(", ")}`;
  throw new UsageError(
    `${name} of version ${major} or newer is needed for this server, ${versions}. Install it: ` +
      `apt-get install postgresql-client-${major} (from apt.postgresql.org where the system has an older one), ` +
      `or brew install postgresql@${major}`,
  );
}
