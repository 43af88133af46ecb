import { fromBinary } from "@bufbuild/protobuf";
import { afterAll, beforeEach, expect, test, vi } from "vitest";
import { z } from "zod";
import { UserRegisteredSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { sql, zBytes, zUuid } from "#platform/postgres/sql.ts";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";
import {
  applicationTable,
  countsOf,
  createFile,
  documentTable,
  hash,
  manyUsers,
  runImport,
} from "../testing/original-file.ts";

// Each command is a process of its own, which takes its time on a busy machine.
vi.setConfig({ testTimeout: 180_000 });

const folder = createTempFolder();
let db: TestDatabase;
beforeEach(async () => {
  db = await createTestDatabase();
  return () => db[Symbol.asyncDispose]();
});
afterAll(() => folder[Symbol.asyncDispose]());

async function openings() {
  const pool = await db.pool("auth");
  const row = z.strictObject({ type: z.string(), payload: zBytes });
  const rows = await pool.any(sql.type(row)`select type, payload from auth.outbox where type like '%UserRegistered'`);
  return new Map(
    rows.map(({ payload }) => {
      const { userId, opening } = fromBinary(UserRegisteredSchema, payload);
      return [userId, opening === undefined ? undefined : [opening.storageUsedBytes, opening.storageQuotaBytes]];
    }),
  );
}

test("the document's shape: numbers become UUIDs, bytes travel with the event, other tables are named and left", async () => {
  const file = createFile(
    folder.path,
    documentTable,
    "create table storage_nodes (id integer)",
    `insert into users (username, email, password_hash, salt, storage_used_bytes, storage_quota_bytes)
     values ('x', 'X@example.com', '${hash}', 'the salt', 900, 1000), ('y', null, '${hash}', 'other', null, null)`,
    `update users set is_active = 0, last_login = '2024-05-01 10:30:00' where username = 'y'`,
  );
  const { code, output } = await runImport(db, file);
  expect(output).toMatch(/left alone: storage_nodes\n/);
  expect(output).toMatch(/2 read, 2 imported, 0 here already, 0 left out/);
  expect(code).toBe(0);
  expect(await openings()).toEqual(
    new Map([
      ["00000000-0000-8000-8000-000000000001", [900n, 1_000n]],
      ["00000000-0000-8000-8000-000000000002", [0n, 10_737_418_240n]],
    ]),
  );
  const pool = await db.pool("auth");
  const row = z.strictObject({ name: z.string(), salt: z.string(), active: z.boolean(), login: z.string().nullable() });
  const users = await pool.any(sql.type(row)`
    select username name, salt, is_active active, last_login::text login from auth.users order by username`);
  expect(users).toEqual([
    { name: "x", salt: "the salt", active: true, login: null },
    { name: "y", salt: "other", active: false, login: expect.stringMatching(/^2024-05-01 10:30:00/) },
  ]);
  // Who was inactive is so everywhere: other services hear of it.
  expect(await countsOf(db)).toEqual({ users: 2, events: 3 });
});

test("the application's shape: UUIDs stay, base64 salts become hex, admins only where asked for", async () => {
  const id = "6fa459ea-ee8a-4ca4-894e-db77e160355e";
  const salt = Buffer.from("00112233445566778899aabbccddeeff", "hex");
  const file = createFile(
    folder.path,
    applicationTable,
    `insert into users (id, username, password_hash, key_salt, created_at, is_admin)
     values ('${id}', 'root', '${hash}', '${salt.toString("base64")}', '2024-05-01T10:30:00+00:00', 1)`,
  );
  expect((await runImport(db, file, "--with-admins")).output).toMatch(/1 imported/);
  const pool = await db.pool("auth");
  const row = z.strictObject({ id: zUuid, salt: z.string(), admin: z.boolean() });
  expect(await pool.any(sql.type(row)`select id, salt, is_admin admin from auth.users`)).toEqual([
    { id, salt: salt.toString("hex"), admin: true },
  ]);
  const audited = z.strictObject({ reason: z.string() });
  expect(await pool.anyFirst(sql.type(audited)`select reason from auth.audit_events order by audit_event_id`)).toEqual([
    "imported 1 users from another system",
    "imported as an admin",
  ]);
});

test("a dry run writes nothing and says of each row what would happen, as it then does", async () => {
  const row = (id: string, name: string, email: string, more = "'salt', 5") =>
    `insert into users (id, username, email, password_hash, key_salt, storage_used_bytes)
     values (${id}, ${name}, ${email}, '${hash}', ${more})`;
  const file = createFile(
    folder.path,
    applicationTable,
    row("1", "'alice'", "'alice@example.com'"),
    row("2", "'ALICE'", "null"),
    row("3", "'bob'", "'Alice@Example.com'"),
    row("4", "null", "null"),
    row("5", "cast(x'61ff' as text)", "null"),
    row("6", "'carol'", "null", "'salt', -3"),
    row("7", "'dave' || char(27) || '[2J'", "null"),
    `insert into users (id, username, password_hash, key_salt) values (8, 'erin', 'md5 of something', 's')`,
    row("9", "'frank'", "null"),
  );
  const refused = [
    /row 2, id "2", username "ALICE": left out, its username belongs to 00000000-0000-8000-8000-000000000001/,
    /row 3, .*: left out, its e-mail address belongs to 00000000-0000-8000-8000-000000000001/,
    /row 4, .*username NULL: left out, username is NULL/,
    /row 5, .*: left out, username is not valid UTF-8/,
    /row 6, .*: left out, storage_used_bytes is negative \(-3\)/,
    /row 7, .*: left out, username must have/,
    /row 8, .*: left out, password_hash is neither a bcrypt nor an argon2id hash/,
  ];
  const rehearsed = await runImport(db, file, "--dry-run");
  for (const line of refused) expect(rehearsed.output).toMatch(line);
  expect(rehearsed.output).toMatch(/row 9, .*: becomes 00000000-0000-8000-8000-000000000009, 5 of 10737418240 bytes/);
  expect(rehearsed.output).toMatch(/9 read, 2 to import, 0 here already, 7 left out/);
  expect(rehearsed.output).not.toContain("\x1b");
  expect(await countsOf(db)).toEqual({ users: 0, events: 0 });

  const done = await runImport(db, file, "--strict");
  for (const line of refused) expect(done.output).toMatch(line);
  expect(done.code).toBe(1);
  expect(done.output).not.toMatch(/row 9|md5/);
  expect(await countsOf(db)).toEqual({ users: 2, events: 2 });
  expect((await runImport(db, file, "--dry-run")).output).toMatch(/9 read, 0 to import, 2 here already, 7 left out/);
});

test("a name or an id that somebody has here is left out, and who was deleted here does not come back", async () => {
  const file = createFile(folder.path, documentTable, manyUsers(3));
  const pool = await db.pool("auth");
  await runImport(db, file);
  await pool.query(sql.unsafe`
    insert into auth.audit_events (occurred_at, audit_event_id, type, result, user_id)
    select now(), gen_random_uuid(), 'DELETE_USER', 'SUCCEEDED', id from auth.users where username = 'user1'`);
  await pool.query(sql.unsafe`delete from auth.users where username = 'user1'`);
  await pool.query(sql.unsafe`
    update auth.users set username = 'renamed', username_key = 'renamed' where username = 'user2'`);
  const { output } = await runImport(db, file);
  expect(output).toMatch(/"user1": left out, was deleted here and stays so/);
  expect(output).toMatch(/"user2": left out, its id belongs to a user of another name/);
  expect(output).toMatch(/3 read, 0 imported, 1 here already, 2 left out/);
});
