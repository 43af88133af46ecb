import { access, readFile } from "node:fs/promises";
import { parse } from "yaml";
import { z } from "zod";

// There is no container engine where the checks run. What can be proven without one: the compose file is well formed,
// its services depend on services that exist, and every command runs a file that is there.

const composeSchema = z.object({
  services: z.record(
    z.string(),
    z.object({
      command: z.array(z.string()).optional(),
      image: z.string(),
      depends_on: z.record(z.string(), z.object({ condition: z.string() })).optional(),
      environment: z.record(z.string(), z.union([z.string(), z.number()])).optional(),
      volumes: z.array(z.string()).optional(),
    }),
  ),
  volumes: z.record(z.string(), z.unknown()),
});

const problems: string[] = [];
const compose = composeSchema.parse(parse(await readFile("docker-compose.yml", "utf8"), { merge: true }));
for (const [name, service] of Object.entries(compose.services)) {
  for (const other of Object.keys(service.depends_on ?? {})) {
    if (compose.services[other] === undefined) problems.push(`${name} depends on ${other}, which does not exist`);
  }
  for (const volume of service.volumes ?? []) {
    const [source = ""] = volume.split(":");
    if (!source.startsWith(".") && !(source in compose.volumes)) problems.push(`${name} mounts the unknown ${source}`);
  }
  await requireScripts(name, service.command ?? []);
}
const dockerfile = await readFile("Dockerfile", "utf8");
for (const [, list] of dockerfile.matchAll(/^CMD (\[.*\])$/gm)) {
  await requireScripts("Dockerfile", z.array(z.string()).parse(JSON.parse(list ?? "[]")));
}
for (const [, sources] of dockerfile.matchAll(/^COPY (?!--)(.+) \S+$/gm)) {
  for (const source of sources?.split(" ") ?? []) await requireFile("Dockerfile", source);
}

async function requireScripts(where: string, command: readonly string[]): Promise<void> {
  for (const word of command.filter((part) => part.endsWith(".ts"))) await requireFile(where, word);
}

async function requireFile(where: string, path: string): Promise<void> {
  await access(path).catch(() => problems.push(`${where} names ${path}, which does not exist`));
}

process.stdout.write(problems.map((problem) => `${problem}\n`).join(""));
process.exitCode = problems.length === 0 ? 0 : 1;
