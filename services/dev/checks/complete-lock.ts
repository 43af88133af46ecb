import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { z } from "zod";

// npm writes only the optional packages that it could see into the lock, and `npm ci` then rejects the lock because
// the foreign platforms' packages are missing from it. This adds an entry for each of them.

const run = promisify(execFile);

const lockEntry = z.looseObject({
  version: z.string().optional(),
  dev: z.boolean().optional(),
  optionalDependencies: z.record(z.string(), z.string()).optional(),
});
const lockSchema = z.looseObject({ packages: z.record(z.string(), lockEntry) });
const manifestSchema = z.object({
  version: z.string(),
  os: z.array(z.string()).optional(),
  cpu: z.array(z.string()).optional(),
  libc: z.array(z.string()).optional(),
});

async function publishedManifest(name: string, range: string): Promise<z.infer<typeof manifestSchema> | undefined> {
  try {
    const { stdout } = await run("npm", ["view", "--json", `${name}@${range}`, "version", "os", "cpu", "libc"]);
    return manifestSchema.parse(JSON.parse(stdout));
  } catch {
    return undefined; // the registry does not carry this platform: the exact version is enough for npm ci
  }
}

const lock = lockSchema.parse(JSON.parse(await readFile("package-lock.json", "utf8")));
let added = 0;
for (const [path, entry] of Object.entries(lock.packages)) {
  for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
    const nested = `${path}/node_modules/${name}`;
    if (lock.packages[`node_modules/${name}`] !== undefined || lock.packages[nested] !== undefined) continue;
    const manifest = await publishedManifest(name, range);
    lock.packages[`node_modules/${name}`] = {
      ...(manifest ?? { version: range.replace(/^[\^~]/, "") }),
      ...(entry.dev ? { dev: true } : {}),
      optional: true,
    };
    added += 1;
  }
}
const sorted = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
await writeFile("package-lock.json", `${JSON.stringify({ ...lock, packages: sorted }, null, 2)}\n`);
process.stdout.write(`package-lock.json: ${added} entries of other platforms added\n`);
