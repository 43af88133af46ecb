import { expect, test } from "vitest";
import { type Cell, type ColumnName, readRow } from "./original-row.ts";
import { instantOf } from "./original-time.ts";

const now = Temporal.Instant.from("2026-01-01T00:00:00Z");
const hash = `$2b$12$${"a".repeat(53)}`;
const cell = (text: string): Cell => ({ text: Buffer.from(text) });
const usual = { id: 7n, username: cell("alice"), password_hash: cell(hash), salt: cell("ab".repeat(16)) };

function read(changes: Partial<Record<ColumnName, Cell>>, withAdmins = false) {
  return readRow({ ...usual, ...changes }, { encoding: "utf-8", withAdmins, now });
}

function user(changes: Partial<Record<ColumnName, Cell>>) {
  const row = read(changes);
  if ("problem" in row) throw new Error(row.problem);
  return row.user;
}

test("a number becomes the UUID with it in the last twelve digits, a UUID is kept", () => {
  const ids = (
    [
      [1n, "000000000001"],
      [255n, "0000000000ff"],
      [2n ** 48n - 1n, "ffffffffffff"],
    ] as const
  ).map(([id, digits]) => [user({ id }).userId, `00000000-0000-8000-8000-${digits}`]);
  for (const [found, expected] of ids) expect(found).toBe(expected);
  const uuid = "6fa459ea-ee8a-3ca4-894e-db77e160355e";
  for (const text of [uuid, uuid.toUpperCase(), uuid.replaceAll("-", "")]) {
    expect(user({ id: cell(text) }).userId).toBe(uuid);
  }
  for (const id of [-1n, 2n ** 48n, null, 1.5, cell("seven"), cell("07"), { blob: Buffer.alloc(16) }]) {
    expect(read({ id }), String(id)).toEqual({ problem: expect.stringMatching(/^id /) });
  }
});

test("16 bytes of key_salt in base64 become hex, any other salt stays as it is", () => {
  const bytes = Buffer.from("00112233445566778899aabbccddeeff", "hex");
  const salts: readonly (readonly [Partial<Record<ColumnName, Cell>>, string])[] = [
    [{ key_salt: cell(bytes.toString("base64")) }, bytes.toString("hex")],
    [{ key_salt: { blob: bytes } }, bytes.toString("hex")],
    [{ key_salt: cell(bytes.toString("hex")) }, bytes.toString("hex")],
    [{ key_salt: cell(bytes.toString("base64url")) }, bytes.toString("base64url")],
    [{ key_salt: cell(Buffer.alloc(12).toString("base64")) }, Buffer.alloc(12).toString("base64")],
    [{ key_salt: cell("some salt") }, "some salt"],
    // The document's column holds text of any kind.
    [{ salt: cell(bytes.toString("base64")) }, bytes.toString("base64")],
  ];
  for (const [changes, expected] of salts) expect(user(changes).salt).toBe(expected);
  expect(read({ key_salt: null })).toEqual({ problem: "key_salt is NULL" });
});

test("what is missing takes the original system's defaults", () => {
  expect(read({})).toMatchObject({
    user: { email: null, isAdmin: false, createdAt: now },
    lastLogin: null,
    isActive: true,
    opening: { storageQuotaBytes: 10_737_418_240n, storageUsedBytes: 0n },
    notes: [],
  });
});

test("rows that cannot be taken are named by column, and never with their secrets", () => {
  const broken: readonly (readonly [Partial<Record<ColumnName, Cell>>, RegExp])[] = [
    [{ username: null }, /^username is NULL$/],
    [{ username: { text: Buffer.from([0x61, 0xff, 0xfe]) } }, /^username is not valid UTF-8$/],
    [{ username: { blob: Buffer.from("alice") } }, /^username is no text$/],
    [{ username: cell("a\0b") }, /^username must/],
    [{ email: cell("nobody") }, /^email must be an e-mail address$/],
    [{ password_hash: cell("pbkdf2:sha256:secret") }, /^password_hash is neither/],
    [{ password_hash: cell("") }, /^password_hash is neither/],
    [{ password_hash: null }, /^password_hash is NULL$/],
    [{ salt: cell("") }, /^salt must/],
    [{ storage_used_bytes: -5n }, /^storage_used_bytes is negative \(-5\)$/],
    [{ storage_quota_bytes: cell("-1") }, /^storage_quota_bytes is negative/],
    [{ storage_quota_bytes: cell("much") }, /^storage_quota_bytes is no whole number$/],
    [{ storage_used_bytes: 1.5 }, /^storage_used_bytes is no whole number$/],
    [{ storage_used_bytes: cell("9223372036854775808") }, /^storage_used_bytes is above/],
    [{ is_active: cell("perhaps") }, /^is_active is neither/],
  ];
  for (const [changes, problem] of broken) {
    const row = read(changes);
    expect(row).toEqual({ problem: expect.stringMatching(problem) });
    expect(JSON.stringify(row)).not.toMatch(/secret|aaaa/);
  }
});

test("names that registration refuses are taken, admins only where that is asked for", () => {
  expect(user({ username: cell("x") }).username).toBe("x");
  expect(user({ username: cell(" two  blanks ") }).username).toBe(" two  blanks ");
  expect(read({ is_admin: 1n })).toMatchObject({ user: { isAdmin: false }, notes: [/--with-admins/] });
  expect(read({ is_admin: cell("true") }, true)).toMatchObject({ user: { isAdmin: true }, notes: [] });
});

test("instants are read in every form that programs leave in SQLite", () => {
  const expected = "2024-05-01T10:30:00Z";
  const forms = [
    "2024-05-01 10:30:00",
    "2024-05-01T10:30",
    "2024-05-01 10:30:00.000000",
    "2024-05-01T12:30:00+02:00",
    "2024-05-01 05:30:00-0500",
    "2024-05-01 10:30:00 UTC",
    "1714559400",
    1_714_559_400n,
    1_714_559_400_000n,
    1_714_559_400_000_000n,
    2_460_431.9375,
  ];
  for (const form of forms) expect(instantOf(form)?.toString(), String(form)).toBe(expected);
  expect(instantOf("2024-05-01 10:30:00.123456")?.toString()).toBe("2024-05-01T10:30:00.123456Z");
  for (const form of ["0000-00-00 00:00:00", "2024-02-31", "yesterday", "", "2024-05-01 25:00:00", 1e300, -1e17]) {
    expect(instantOf(form), String(form)).toBeUndefined();
  }
});

test("an odd instant is replaced and said, an empty one is only replaced", () => {
  const row = read({ created_at: cell("long ago"), last_login: cell("never") });
  expect(row).toMatchObject({ user: { createdAt: now }, lastLogin: null, notes: [/created_at/, /last_login/] });
  expect(read({ created_at: null, last_login: null })).toMatchObject({ notes: [] });
});
