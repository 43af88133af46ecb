import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

// `npm run contract:lock`: promises everything that the protos hold now to the clients of others. proto/lock.binpb is that
// promise; `npm run check` fails when something of it is removed or changed, and passes what was only added. Whoever has
// to break it all the same deletes the file first, so that the broken promise is a line of its own in the review.

const lockFile = "proto/lock.binpb";

function buf(...args: string[]): number {
  const { status, error } = spawnSync("buf", args, { stdio: "inherit" });
  if (error !== undefined) throw error;
  return status ?? 1;
}

if (existsSync(lockFile) && buf("breaking", "proto", "--against", lockFile) !== 0) {
  process.stderr.write(`${lockFile} is left as it is: the changes above break what it promises\n`);
  process.exitCode = 1;
} else {
  process.exitCode = buf("build", "proto", "--exclude-source-info", "-o", lockFile);
}
