import { execFile } from "node:child_process";
import { appendFile, copyFile, cp, mkdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../dev/embedded-postgres.ts";
import { createSandbox } from "../../dev/postgres-sandbox.ts";
import { freePort } from "../../dev/start/ports.ts";
import { sendSignal } from "../../dev/start/processes.ts";
import { eventually } from "../eventually.ts";

export interface PostgresPair extends AsyncDisposable {
  readonly primary: EmbeddedPostgres;
  readonly standby: EmbeddedPostgres;
  /** kill -9 of the primary; resolves when the standby takes writes. */
  failOver(): Promise<void>;
}

const STANDBY = "standby";
const settings = { wal_level: "replica", max_wal_senders: "5", hot_standby: "on", wal_keep_size: "512MB" };

/** A primary that acknowledges a commit only when its standby has it, and that standby. */
export async function startPostgresPair(folder: string): Promise<PostgresPair> {
  const primary = await startEmbeddedPostgres({ folder: `${folder}-primary`, port: await freePort(), settings });
  try {
    await copyCluster(`${folder}-primary`, `${folder}-standby`, primary);
    const standby = await startEmbeddedPostgres({ folder: `${folder}-standby`, port: await freePort(), settings });
    await synchronize(primary.url);
    return {
      primary,
      standby,
      failOver: async () => {
        sendSignal(primary.pid, "SIGKILL");
        await primary.exited;
        await query(standby.url, "select pg_promote(true, 60)");
        const late = await eventually(60_000, async () => {
          const [row] = await query(standby.url, "select pg_is_in_recovery() as waits");
          return row?.waits === false ? undefined : "it is still a standby";
        });
        if (late !== undefined) throw new Error(`the standby was not promoted: ${late}`);
      },
      [Symbol.asyncDispose]: async () => {
        await standby.stop();
        await primary.stop();
      },
    };
  } catch (error) {
    await primary.stop();
    throw error;
  }
}

/** A copy of the running cluster by PostgreSQL's low-level backup API: the embedded binaries have no pg_basebackup. */
async function copyCluster(from: string, to: string, primary: EmbeddedPostgres): Promise<void> {
  const source = createSandbox({ folder: from }).folder;
  const { folder: target, account } = createSandbox({ folder: to });
  const client = new pg.Client({ connectionString: primary.url });
  client.on("error", () => {}); // the query that runs into it tells
  await client.connect();
  try {
    await client.query("select pg_backup_start('standby', true)");
    // What the server writes again by itself, or must not find.
    const leftOut = new Set(["postmaster.pid", "postmaster.opts", "pg_wal", "pg_stat_tmp"]);
    await cp(join(source, "data"), join(target, "data"), {
      recursive: true,
      filter: (path) => !leftOut.has(basename(path)),
    });
    for (const empty of ["pg_wal", "pg_wal/archive_status", "pg_wal/summaries", "pg_stat_tmp"]) {
      await mkdir(join(target, "data", empty), { recursive: true, mode: 0o700 });
    }
    const { rows } = await client.query("select labelfile from pg_backup_stop(false)");
    await writeFile(join(target, "data", "backup_label"), String(rows[0]?.labelfile));
  } finally {
    await client.end();
  }
  const { username, password, port } = new URL(primary.url);
  const way = `host=127.0.0.1 port=${port} user=${username} password=${decodeURIComponent(password)} application_name=${STANDBY}`;
  await appendFile(join(target, "data", "postgresql.auto.conf"), `primary_conninfo = '${way}'\n`);
  await writeFile(join(target, "data", "standby.signal"), "");
  await copyFile(join(source, "superuser-password"), join(target, "superuser-password"));
  if (account !== undefined) await promisify(execFile)("chown", ["-R", `${account.uid}:${account.gid}`, target]);
}

/** From now on a commit waits for the standby; resolves when it follows. */
async function synchronize(primaryUrl: string): Promise<void> {
  await query(primaryUrl, `alter system set synchronous_standby_names = '${STANDBY}'`);
  await query(primaryUrl, "select pg_reload_conf()");
  const late = await eventually(60_000, async () => {
    const rows = await query(primaryUrl, "select sync_state from pg_stat_replication");
    return rows[0]?.sync_state === "sync" ? undefined : `its state is ${rows[0]?.sync_state}`;
  });
  if (late !== undefined) throw new Error(`the standby does not follow: ${late}`);
}

async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {}); // the query that runs into it tells
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}
