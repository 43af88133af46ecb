import { spawn } from "node:child_process";

// `npm run check`: everything that can be said of the tree without running the services. All checks run, also after
// a failure, so that one round shows all there is to mend.

interface Check {
  readonly name: string;
  readonly command: readonly string[];
  /** What the output must hold for the check to count: a tool that read nothing also ends with 0. */
  readonly proof?: RegExp;
}

const node = process.execPath;

const checks: readonly Check[] = [
  { name: "types", command: [node, "node_modules/ts7/bin/tsc", "-p", "."] },
  { name: "format and lint", command: ["biome", "ci", "--colors=off", "--error-on-warnings", "."] },
  {
    name: "layering",
    command: ["depcruise", "--config", ".dependency-cruiser.mjs", "services", "db"],
    proof: /\b[1-9]\d* modules/,
  },
  { name: "proto lint", command: ["buf", "lint"] },
  { name: "proto breaking changes", command: ["buf", "breaking", "proto", "--against", "proto/lock.binpb"] },
  { name: "generated code", command: [node, "services/dev/checks/generated-code.ts"] },
  { name: "migrations", command: [node, "services/dev/checks/migrations.ts"] },
  { name: "schema dumps", command: [node, "services/dev/checks/schema-dump.ts"] },
  { name: "sizes", command: [node, "services/dev/checks/sizes.ts"] },
  { name: "guarantees", command: [node, "services/dev/checks/guarantees.ts"], proof: /^[1-9]\d* tests named/m },
  { name: "deployment files", command: [node, "services/dev/checks/deployment-files.ts"] },
];

function run(check: Check): Promise<{ ok: boolean; output: string }> {
  const [program, ...args] = check.command;
  return new Promise((resolve) => {
    const child = spawn(program ?? node, args, { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    child.stdout.on("data", (piece: Buffer) => (output += piece.toString()));
    child.stderr.on("data", (piece: Buffer) => (output += piece.toString()));
    child.once("error", (error) => resolve({ ok: false, output: error.message }));
    child.once("close", (code) => {
      const proven = check.proof === undefined || check.proof.test(output);
      resolve({ ok: code === 0 && proven, output });
    });
  });
}

let failed = 0;
for (const check of checks) {
  const startedAt = performance.now();
  const { ok, output } = await run(check);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  process.stdout.write(`${ok ? "✔" : "✘"} ${check.name} (${seconds} s)\n`);
  if (!ok) {
    failed += 1;
    process.stdout.write(`${output.trimEnd().replace(/^/gm, "    ")}\n`);
  }
}
process.stdout.write(`${checks.length - failed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;
