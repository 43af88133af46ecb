import type { z } from "zod";
import { invalidArgument } from "./errors.ts";

const DEFAULT_PAGE_SIZE = 100;
const MAX_PAGE_SIZE = 1_000;
const MAX_TOKEN_LENGTH = 2_048;

export interface Page<Cursor> {
  /** How many rows to fetch, 1 to 1,000. */
  readonly limit: number;
  /** Where the page before ended: fetch rows behind it. Undefined on the first page. */
  readonly after: Cursor | undefined;
}

/**
 * Reads page_size and page_token of a list request. A token is only what `nextPageToken` made of a cursor; it is not
 * secret and not signed, so it is parsed by the schema and grants nothing. Bigints and instants come back as strings:
 * use `z.coerce.bigint()` and the like in the schema.
 */
export function pageOf<Schema extends z.ZodType>(
  request: { readonly pageSize: number; readonly pageToken: string },
  cursorSchema: Schema,
): Page<z.output<Schema>> {
  if (request.pageSize < 0 || request.pageSize > MAX_PAGE_SIZE) {
    throw invalidArgument([{ field: "page_size", rule: "must be between 0 and 1000" }]);
  }
  const limit = request.pageSize === 0 ? DEFAULT_PAGE_SIZE : request.pageSize;
  if (request.pageToken === "") return { limit, after: undefined };
  const parsed = cursorSchema.safeParse(decode(request.pageToken));
  if (!parsed.success) {
    throw invalidArgument([{ field: "page_token", rule: "must be a next_page_token of this list" }]);
  }
  return { limit, after: parsed.data };
}

/** The next_page_token after `rows`, which were fetched with `limit`: empty where the list has ended. */
export function nextPageToken<Row>(rows: readonly Row[], limit: number, toCursor: (last: Row) => unknown): string {
  const last = rows.at(-1);
  if (last === undefined || rows.length < limit) return "";
  const json = JSON.stringify(toCursor(last), (_key, value) => (typeof value === "bigint" ? value.toString() : value));
  return Buffer.from(json).toString("base64url");
}

function decode(token: string): unknown {
  if (token.length > MAX_TOKEN_LENGTH) return undefined;
  try {
    const cursor: unknown = JSON.parse(Buffer.from(token, "base64url").toString("utf8"));
    return isStorable(cursor) ? cursor : undefined;
  } catch {
    // Not a token of ours: the schema refuses undefined.
    return undefined;
  }
}

/** Whether PostgreSQL could hold every text: a made-up token must not become an error of the database. */
function isStorable(value: unknown): boolean {
  if (typeof value === "string") return !value.includes("\0");
  return typeof value !== "object" || value === null || Object.values(value).every(isStorable);
}
