import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { createEarlierRows, importBatch, type Outcome, rehearseBatch } from "./import-batch.ts";
import { type Cell, type ImportedRow, type OriginalRow, readRow } from "./original-row.ts";
import type { Source } from "./source.ts";

export interface ImportOptions {
  readonly source: Source;
  readonly pool: Pool;
  readonly clock: Clock;
  readonly withAdmins: boolean;
  /** Nothing is written, and every row gets a line. */
  readonly isDryRun: boolean;
  readonly batchSize?: number;
  readonly say: (line: string) => void;
  readonly onBatch?: (rows: number) => void;
}

export interface ImportSummary {
  readonly rows: number;
  readonly imported: number;
  readonly there: number;
  readonly refused: number;
}

interface ReadRow {
  readonly label: string;
  readonly row: ImportedRow | undefined;
  readonly problem: string;
}

/**
 * Imports the users of a file in batches of which each is written whole or not at all. Running it again, after a crash
 * or out of caution, takes up what is missing and changes nothing else.
 */
export async function importUsers(options: ImportOptions): Promise<ImportSummary> {
  const count = { rows: 0, imported: 0, there: 0, refused: 0 };
  const earlier = createEarlierRows();
  for (const batch of batchesOf(options)) {
    const rows = batch.flatMap(({ row }) => (row === undefined ? [] : [row]));
    const outcomes = options.isDryRun
      ? await rehearseBatch(options.pool, rows, earlier)
      : await importBatch(options.pool, options.clock, rows);
    const byRow = new Map(rows.map((row, index) => [row, outcomes[index]]));
    for (const read of batch) {
      const outcome = (read.row && byRow.get(read.row)) ?? { kind: "refused", problem: read.problem };
      count.rows += 1;
      count[outcome.kind] += 1;
      const line = lineOf(read, outcome, options.isDryRun);
      if (line !== undefined) options.say(line);
    }
    options.onBatch?.(batch.length);
  }
  return count;
}

function* batchesOf({ source, clock, withAdmins, batchSize = 1_000 }: ImportOptions): Iterable<readonly ReadRow[]> {
  const rules = { encoding: source.encoding, withAdmins, now: clock.now() };
  let batch: ReadRow[] = [];
  let number = 0;
  for (const original of source.rows()) {
    number += 1;
    const read = readRow(original, rules);
    const label = `row ${number}, ${nameOf(original, source.encoding)}`;
    batch.push(
      "problem" in read ? { label, row: undefined, problem: read.problem } : { label, row: read, problem: "" },
    );
    if (batch.length < batchSize) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

/** What there is to say about a row: always something in a dry run, otherwise where it was not taken as it was. */
function lineOf({ label, row }: ReadRow, outcome: Outcome, isDryRun: boolean): string | undefined {
  if (outcome.kind === "refused") return `${label}: left out, ${outcome.problem}`;
  const notes = row?.notes.map((note) => `; ${note}`).join("") ?? "";
  if (outcome.kind === "there") return isDryRun ? `${label}: is here already` : undefined;
  if (!isDryRun) return notes === "" ? undefined : `${label}: imported${notes}`;
  const { storageQuotaBytes, storageUsedBytes } = row?.opening ?? {};
  const state = row?.isActive === false ? "inactive, " : "";
  return `${label}: becomes ${row?.user.userId}, ${state}${storageUsedBytes} of ${storageQuotaBytes} bytes${notes}`;
}

/** How a line names a row: control characters of a file shall not reach a terminal. */
function nameOf({ id, username }: OriginalRow, encoding: Source["encoding"]): string {
  return `id ${shown(id, encoding)}, username ${shown(username, encoding)}`;
}

function shown(cell: Cell | undefined, encoding: Source["encoding"]): string {
  if (cell === undefined || cell === null) return "NULL";
  if (typeof cell !== "object") return String(cell);
  if ("blob" in cell) return `(${cell.blob.length} binary bytes)`;
  const text = new TextDecoder(encoding).decode(cell.text.subarray(0, 160));
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text).replace(/[\p{C}]/gu, "\ufffd");
}
