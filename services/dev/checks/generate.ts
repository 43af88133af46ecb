import { spawnSync } from "node:child_process";

// `npm run generate`: what is committed but made from other files: code from the protos, schema dumps from migrations.
const steps = [
  ["buf", "generate"],
  [process.execPath, "services/dev/checks/schema-dump.ts", "--write"],
];
for (const [program = "", ...args] of steps) {
  const { status, error } = spawnSync(program, args, { stdio: "inherit" });
  if (status !== 0) throw error ?? new Error(`${program} ${args.join(" ")} ended with ${status}`);
}
