import { existsSync } from "node:fs";
import path from "node:path";
import { findPrograms } from "../postgres-programs.ts";

/**
 * Which PostgreSQL a pg_dump of this machine can save: the embedded one where there is a new enough client, else the
 * server beside the newest client. Undefined without any: then only the refusal can be tested.
 */
export function findSavingServer(): { readonly binFolder?: string } | undefined {
  const [newest] = findPrograms("pg_dump").toSorted((a, b) => b.major - a.major);
  if (newest === undefined) return undefined;
  if (newest.major >= 18) return {};
  const binFolder = `/usr/lib/postgresql/${newest.major}/bin`;
  return existsSync(path.join(binFolder, "postgres")) ? { binFolder } : undefined;
}
