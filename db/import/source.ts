import { statSync } from "node:fs";
import { DatabaseSync, type SQLOutputValue } from "node:sqlite";
import { z } from "zod";
import { UsageError } from "../target.ts";
import { type Cell, type ColumnName, columnNames, type OriginalRow, type ReadingRules } from "./original-row.ts";

/** The users table of a SQLite file, open for reading as of one moment. */
export interface Source extends Disposable {
  readonly encoding: ReadingRules["encoding"];
  readonly columns: readonly ColumnName[];
  readonly rowCount: number;
  /** Tables that are not read. */
  readonly otherTables: readonly string[];
  rows(): Iterable<OriginalRow>;
}

const tableRows = z.array(z.object({ name: z.string() }));
const encodings = { "UTF-8": "utf-8", "UTF-16le": "utf-16le", "UTF-16be": "utf-16be" } as const;

/**
 * Opens the original system's users.db and makes sure that it has the columns without which nobody can be imported.
 *
 * @throws UsageError for files that are missing, locked, damaged or something else.
 */
export function openSource(file: string): Source {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined) throw new UsageError(`${file} does not exist`);
  if (!found.isFile()) throw new UsageError(`${file} is no file`);
  return readable(file, () => {
    const db = new DatabaseSync(file, { readOnly: true, timeout: 2_000 });
    try {
      return sourceOf(file, db);
    } catch (error) {
      db.close();
      throw error;
    }
  });
}

function sourceOf(file: string, db: DatabaseSync): Source {
  // One snapshot for the count and the rows; a program that still writes to the file does not come in between.
  db.exec("begin");
  const names = tableRows.parse(
    db
      .prepare(
        "select name from sqlite_schema where type in ('table', 'view') and name not like 'sqlite\\_%' escape '\\' order by name",
      )
      .all(),
  );
  const table = names.find(({ name }) => name.toLowerCase() === "users")?.name;
  if (table === undefined) {
    const found = names.length === 0 ? "has no tables" : `has ${names.map(({ name }) => name).join(", ")}`;
    throw new UsageError(`${file} has no table users: it ${found}`);
  }
  const inTable = tableRows.parse(db.prepare("select name from pragma_table_info(?)").all(table));
  const present = new Set(inTable.map(({ name }) => name.toLowerCase()));
  const columns = columnNames.filter((name) => present.has(name));
  const missing = ["id", "username", "password_hash"].filter((name) => !present.has(name));
  if (!present.has("salt") && !present.has("key_salt")) missing.push("salt or key_salt");
  if (missing.length > 0) throw new UsageError(`the table users in ${file} lacks ${missing.join(", ")}`);
  const encoding = z.object({ encoding: z.enum(["UTF-8", "UTF-16le", "UTF-16be"]) });
  const count = z.object({ n: z.number() });
  const quoted = quote(table);
  return {
    encoding: encodings[encoding.parse(db.prepare("pragma encoding").get()).encoding],
    columns,
    rowCount: count.parse(db.prepare(`select count(*) as n from ${quoted}`).get()).n,
    otherTables: names.flatMap(({ name }) => (name === table ? [] : [name])),
    rows: () => rowsOf(file, db, quoted, columns),
    [Symbol.dispose]: () => db.close(),
  };
}

function* rowsOf(file: string, db: DatabaseSync, table: string, columns: readonly ColumnName[]): Iterable<OriginalRow> {
  // Text as its bytes, blobs as hex: whatever is bytes in a result was text.
  const selected = columns.map(
    (name) =>
      `case typeof(${name}) when 'text' then cast(${name} as blob) when 'blob' then hex(${name}) else ${name} end`,
  );
  const statement = db.prepare(
    `select ${selected.map((sql, index) => `${sql} as c${index}`).join(", ")} from ${table}`,
  );
  statement.setReadBigInts(true);
  const results = statement.iterate();
  while (true) {
    const next = readable(file, () => results.next());
    if (next.done === true) return;
    yield Object.fromEntries(columns.map((name, index) => [name, cellOf(next.value[`c${index}`])]));
  }
}

function cellOf(value: SQLOutputValue | undefined): Cell {
  if (value instanceof Uint8Array) return { text: value };
  return typeof value === "string" ? { blob: Buffer.from(value, "hex") } : (value ?? null);
}

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** SQLite's primary result codes with what an operator can do about them. */
const reasons: Readonly<Record<number, string>> = {
  5: "is locked by another program: stop the original application and repeat",
  6: "is locked by another program: stop the original application and repeat",
  8: "was left behind in the middle of a change: open it once with the original application or sqlite3, then repeat",
  10: "cannot be read from its disk: copy it elsewhere and repeat with the copy",
  11: "is damaged: repeat with a backup, or with what `sqlite3 FILE .recover | sqlite3 NEW` can save",
  14: "cannot be opened: it must be a file that this user may read",
  26: "is no SQLite database",
};

function readable<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const code: unknown = error instanceof Error ? Reflect.get(error, "errcode") : undefined;
    if (!(error instanceof Error) || typeof code !== "number") throw error;
    throw new UsageError(`${file} ${reasons[code & 0xff] ?? `cannot be read: ${error.message}`}`, { cause: error });
  }
}
