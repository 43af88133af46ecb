import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { systemClock as clock } from "#platform/time/clock.ts";
import { importUsers } from "../../db/import/import-users.ts";
import { openSource } from "../../db/import/source.ts";
import { createBenchKit } from "./event-bench-kit.ts";
import { isShort, measured } from "./measured.ts";

// How fast users of the original system are taken over, with their events, by a server that syncs to disk; then the same
// file again, as after a crash at its end. Target: a million in five minutes. `--users=N` sets the number.

const usersWord = process.argv.find((word) => word.startsWith("--users="));
const users = Number(usersWord?.slice("--users=".length) ?? (isShort ? 100_000 : 1_000_000));

await using folder = createTempFolder();
const file = path.join(folder.path, "users.db");
const writing = new DatabaseSync(file);
// Each row has a hash and a salt of its own, as real ones do.
writing.exec(`
  create table users (id integer primary key autoincrement, username text unique, email text unique, password_hash text,
    salt text, storage_used_bytes bigint, storage_quota_bytes bigint, created_at timestamp, is_active boolean);
  with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < ${users})
  insert into users (username, email, password_hash, salt, storage_used_bytes, storage_quota_bytes, created_at, is_active)
  select 'user' || n, 'user' || n || '@example.com', '$2b$12$' || substr(hex(randomblob(32)), 1, 53),
    lower(hex(randomblob(16))), n * 1000, 10737418240, '2024-05-01 10:30:00', n % 50 > 0 from numbers`);
writing.close();

await using kit = await createBenchKit();
const pool = await kit.pool("auth");
for (const turn of ["imported", "found again"]) {
  using source = openSource(file);
  const startedAt = clock.monotonicMs();
  const { imported, there } = await importUsers({
    source,
    pool,
    clock,
    withAdmins: false,
    isDryRun: false,
    say: console.log,
  });
  const seconds = (clock.monotonicMs() - startedAt) / 1_000;
  const expected = turn === "imported" ? imported : there;
  if (expected !== users) throw new Error(`${expected} of ${users} were ${turn}`);
  console.log(
    `${users.toLocaleString("en")} users ${turn} in ${seconds.toFixed(1)} s: ${Math.round(users / seconds)} per second`,
  );
  if (turn !== "imported") continue;
  measured("importRate", users / seconds, users < 1_000_000 ? `${users.toLocaleString("en")} users` : undefined);
}
