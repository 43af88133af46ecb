import { importedUser } from "../../services/auth/accounts/imported-user.ts";
import type { NewUser } from "../../services/auth/accounts/users.store.ts";
import { instantOf } from "./original-time.ts";

/** A value as SQLite had it. Text comes as its bytes, because nothing guarantees that they are text. */
export type Cell = { readonly text: Uint8Array } | { readonly blob: Uint8Array } | bigint | number | null;

export const columnNames = [
  "id",
  "username",
  "email",
  "password_hash",
  "salt",
  "key_salt",
  "storage_used_bytes",
  "storage_quota_bytes",
  "created_at",
  "last_login",
  "is_active",
  "is_admin",
] as const;
export type ColumnName = (typeof columnNames)[number];

/** Columns that the file's table does not have are missing here. */
export type OriginalRow = Readonly<Partial<Record<ColumnName, Cell>>>;

export interface ImportedRow {
  readonly user: NewUser;
  readonly lastLogin: Temporal.Instant | null;
  readonly isActive: boolean;
  readonly opening: { readonly storageQuotaBytes: bigint; readonly storageUsedBytes: bigint };
  /** What was not taken as it was. */
  readonly notes: readonly string[];
}

export interface ReadingRules {
  readonly encoding: "utf-8" | "utf-16le" | "utf-16be";
  readonly withAdmins: boolean;
  readonly now: Temporal.Instant;
}

const defaultQuotaBytes = 10_737_418_240n;
const maxBytes = 2n ** 63n - 1n;

/** A value that makes its row impossible to import. */
class CellError extends Error {}

/** What a row becomes, or why it cannot be imported; neither ever quotes a hash or a salt. */
export function readRow(row: OriginalRow, rules: ReadingRules): ImportedRow | { readonly problem: string } {
  const notes: string[] = [];
  try {
    const text = (name: ColumnName) => textOf(name, row[name], rules.encoding);
    const time = (name: ColumnName) => timeOf(name, row[name], rules.encoding, notes);
    const isAdmin = flagOf("is_admin", row.is_admin, rules.encoding, false);
    if (isAdmin && !rules.withAdmins) notes.push("is an admin there and none here: --with-admins keeps admins");
    const imported = importedUser(userIdOf(row.id, rules.encoding), {
      username: required("username", text("username")),
      email: text("email"),
      passwordHash: required("password_hash", text("password_hash")),
      salt: saltOf(row, rules.encoding),
      createdAt: time("created_at") ?? rules.now,
      isAdmin: isAdmin && rules.withAdmins,
    });
    if ("problem" in imported) return imported;
    return {
      user: imported.user,
      lastLogin: time("last_login") ?? null,
      isActive: flagOf("is_active", row.is_active, rules.encoding, true),
      opening: {
        storageQuotaBytes: bytesOf("storage_quota_bytes", row.storage_quota_bytes, rules.encoding, defaultQuotaBytes),
        storageUsedBytes: bytesOf("storage_used_bytes", row.storage_used_bytes, rules.encoding, 0n),
      },
      notes,
    };
  } catch (error) {
    if (error instanceof CellError) return { problem: error.message };
    throw error;
  }
}

function required(name: ColumnName, value: string | null): string {
  if (value === null) throw new CellError(`${name} is NULL`);
  return value;
}

function textOf(name: ColumnName, cell: Cell | undefined, encoding: ReadingRules["encoding"]): string | null {
  if (cell === undefined || cell === null) return null;
  if (typeof cell === "bigint") return String(cell);
  if (typeof cell === "number" || "blob" in cell) throw new CellError(`${name} is no text`);
  try {
    return new TextDecoder(encoding, { fatal: true, ignoreBOM: true }).decode(cell.text);
  } catch {
    throw new CellError(`${name} is not valid ${encoding.toUpperCase()}`);
  }
}

/** Number n becomes the n-th UUID of a range that nothing else makes (version 8, for own use); UUIDs are kept. */
function userIdOf(cell: Cell | undefined, encoding: ReadingRules["encoding"]): string {
  if (typeof cell === "number") throw new CellError("id is neither a whole number nor a UUID");
  const text = textOf("id", cell, encoding) ?? "";
  // SQLite turns numbers into text where the column was declared so.
  if (/^(0|-?[1-9]\d{0,29})$/.test(text)) {
    const id = BigInt(text);
    if (id < 0n || id >= 2n ** 48n) throw new CellError("id is negative or has more than 48 bits");
    return `00000000-0000-8000-8000-${id.toString(16).padStart(12, "0")}`;
  }
  const digits = /^([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})$/i.exec(text);
  if (digits === null) throw new CellError("id is neither a whole number nor a UUID");
  return digits.slice(1).join("-").toLowerCase();
}

/** The application kept 16 bytes in base64 where this system has hex; every other salt is what the client knows. */
function saltOf(row: OriginalRow, encoding: ReadingRules["encoding"]): string {
  if (row.key_salt === undefined) return required("salt", textOf("salt", row.salt, encoding));
  if (row.key_salt !== null && typeof row.key_salt === "object" && "blob" in row.key_salt) {
    return Buffer.from(row.key_salt.blob).toString("hex");
  }
  const text = required("key_salt", textOf("key_salt", row.key_salt, encoding));
  const decoded = Buffer.from(text, "base64");
  return decoded.length === 16 && decoded.toString("base64") === text ? decoded.toString("hex") : text;
}

function bytesOf(name: ColumnName, cell: Cell | undefined, encoding: ReadingRules["encoding"], missing: bigint) {
  if (cell === undefined || cell === null) return missing;
  const value = typeof cell === "object" ? wholeNumberOf(textOf(name, cell, encoding)) : wholeNumberOf(cell);
  if (value === undefined) throw new CellError(`${name} is no whole number`);
  if (value < 0n) throw new CellError(`${name} is negative (${value})`);
  if (value > maxBytes) throw new CellError(`${name} is above ${maxBytes}`);
  return value;
}

function wholeNumberOf(value: string | bigint | number | null): bigint | undefined {
  if (typeof value === "bigint") return value;
  if (typeof value === "number") return Number.isSafeInteger(value) ? BigInt(value) : undefined;
  return typeof value === "string" && /^-?\d{1,30}$/.test(value.trim()) ? BigInt(value.trim()) : undefined;
}

function flagOf(name: ColumnName, cell: Cell | undefined, encoding: ReadingRules["encoding"], missing: boolean) {
  if (cell === undefined || cell === null) return missing;
  const text = (typeof cell === "number" ? String(cell) : textOf(name, cell, encoding))?.trim().toLowerCase() ?? "";
  if (/^(1|t|true|y|yes|on)$/.test(text)) return true;
  if (/^(0|f|false|n|no|off)$/.test(text)) return false;
  throw new CellError(`${name} is neither true nor false`);
}

function timeOf(name: ColumnName, cell: Cell | undefined, encoding: ReadingRules["encoding"], notes: string[]) {
  if (cell === undefined || cell === null) return undefined;
  const value = typeof cell === "object" ? (textOf(name, cell, encoding) ?? "") : cell;
  const found = value === "" ? undefined : instantOf(value);
  if (found === undefined) {
    const instead = name === "created_at" ? "the moment of the import stands instead" : "it is left empty";
    notes.push(`${name} is no instant: ${instead}`);
  }
  return found;
}
