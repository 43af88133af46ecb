import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

// proto/gen is committed so that a clone runs at once. This compares it with what the protos generate now.

const run = promisify(execFile);

async function filesOf(folder: string): Promise<Map<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const contents = await Promise.all(
    files.map(async (file) => [file.slice(folder.length), await readFile(file, "utf8")] as const),
  );
  return new Map(contents);
}

const fresh = await mkdtemp(join(tmpdir(), "decentrastore-gen-"));
try {
  await run("buf", ["generate", "--output", fresh]);
  const [expected, committed] = await Promise.all([filesOf(join(fresh, "proto/gen")), filesOf("proto/gen")]);
  const names = new Set([...expected.keys(), ...committed.keys()]);
  const stale = [...names].filter((name) => expected.get(name) !== committed.get(name)).sort();
  if (expected.size === 0) throw new Error("buf generated nothing");
  if (stale.length > 0) {
    process.stderr.write(`proto/gen is not what the protos generate; run: npm run generate\n${stale.join("\n")}\n`);
    process.exitCode = 1;
  }
} finally {
  await rm(fresh, { recursive: true, force: true });
}
