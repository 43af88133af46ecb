import { spawn } from "node:child_process";
import { readdir } from "node:fs/promises";
import { cpus, totalmem } from "node:os";

// `npm run bench` runs every benchmark, `npm run bench -- relay quota` those whose names begin so. Each is a file of
// its own that says what it measures and against which baseline of the same run: the machine is shared, so only the
// ratios mean something.

const wanted = process.argv.slice(2).filter((word) => !word.startsWith("-"));
const passedOn = process.argv.slice(2).filter((word) => word.startsWith("-"));
const suffix = ".bench.ts";

const files = (await readdir(import.meta.dirname)).filter((file) => file.endsWith(suffix)).sort();
const chosen = files.filter((file) => wanted.length === 0 || wanted.some((word) => file.startsWith(word)));
if (chosen.length === 0) {
  process.stderr.write(
    `no such benchmark; there are: ${files.map((file) => file.slice(0, -suffix.length)).join(", ")}\n`,
  );
  process.exitCode = 2;
}

const [cpu] = cpus();
process.stdout.write(
  `node ${process.version}, ${process.platform} ${process.arch}, ${cpus().length} x ${cpu?.model ?? "unknown"}, ` +
    `${Math.round(totalmem() / 2 ** 30)} GiB\n`,
);

let failed = 0;
for (const file of chosen) {
  process.stdout.write(`\n== ${file.slice(0, -suffix.length)}\n`);
  const code = await new Promise<number | null>((resolve) => {
    spawn(process.execPath, [`${import.meta.dirname}/${file}`, ...passedOn], { stdio: "inherit" }).once(
      "exit",
      resolve,
    );
  });
  if (code !== 0) {
    failed += 1;
    process.stdout.write(`${file} ended with ${code}\n`);
  }
}
process.stdout.write(`\n${chosen.length - failed} passed, ${failed} failed\n`);
if (failed > 0) process.exitCode = 1;
