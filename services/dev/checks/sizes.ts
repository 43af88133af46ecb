import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";

// A file that grows past these limits holds two subjects. Suppressions and skipped tests have no limit to grow to.
// The percentile is of the code that runs in production: a test grows with what it attacks.

const run = promisify(execFile);
const limits = { most: 250, ninetieth: 150 };
const forbidden: readonly [RegExp, string][] = [
  [/@ts-(ignore|expect-error|nocheck)|biome-ignore/, "a suppression"],
  [/\b(it|test|describe)\.(skip|only|todo)\b/, "a skipped or focused test"],
  [/\b(TODO|FIXME|XXX)\b/, "an open end"],
];

const { stdout } = await run("git", ["ls-files", "--cached", "--others", "--exclude-standard", "*.ts"]);
const files = stdout.split("\n").filter((file) => file !== "" && !file.startsWith("proto/gen/"));
const problems: string[] = [];
const lengths: number[] = [];
for (const file of files) {
  const text = await readFile(file, "utf8").catch(() => ""); // listed by git, deleted in the tree
  const lines = text.split("\n");
  if (!/\.test\.ts$|\/(bench|testing|fixtures|model)\//.test(file)) lengths.push(lines.length);
  if (lines.length > limits.most) problems.push(`${file}: ${lines.length} lines, at most ${limits.most}`);
  if (file.endsWith("checks/sizes.ts")) continue;
  for (const [index, line] of lines.entries()) {
    for (const [pattern, what] of forbidden) if (pattern.test(line)) problems.push(`${file}:${index + 1}: ${what}`);
  }
}
lengths.sort((a, b) => a - b);
const ninetieth = lengths[Math.floor(lengths.length * 0.9)] ?? 0;
if (ninetieth > limits.ninetieth) problems.push(`the 90th percentile of file lengths is ${ninetieth} lines`);
if (files.length === 0) problems.push("no file was read");
process.stdout.write(`${problems.join("\n")}${problems.length > 0 ? "\n" : ""}`);
process.exitCode = problems.length === 0 ? 0 : 1;
