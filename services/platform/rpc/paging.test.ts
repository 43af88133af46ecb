import { expect, test } from "vitest";
import { z } from "zod";
import { nextPageToken, pageOf } from "./paging.ts";

const cursor = z.strictObject({ id: z.coerce.bigint(), at: z.string() });
const toCursor = (row: { id: bigint; at: Temporal.Instant }) => row;
const rows = [1n, 2n].map((id) => ({ id, at: Temporal.Instant.from("2026-01-01T00:00:00.123456Z") }));

test("a token leads to where the page before ended", () => {
  const pageToken = nextPageToken(rows, 2, toCursor);
  expect(pageOf({ pageSize: 2, pageToken }, cursor)).toEqual({
    limit: 2,
    after: { id: 2n, at: "2026-01-01T00:00:00.123456Z" },
  });
});

test("the last page has no token", () => {
  expect(nextPageToken(rows, 3, toCursor)).toBe("");
  expect(nextPageToken([], 3, toCursor)).toBe("");
});

test("0 means a page of 100, and the size has limits", () => {
  expect(pageOf({ pageSize: 0, pageToken: "" }, cursor)).toEqual({ limit: 100, after: undefined });
  expect(pageOf({ pageSize: 1_000, pageToken: "" }, cursor).limit).toBe(1_000);
  for (const pageSize of [-1, 1_001]) expect(() => pageOf({ pageSize, pageToken: "" }, cursor)).toThrow("page_size");
});

test.each(["x", "bnVsbA", "e30", "eyJpZCI6IngifQ", "%%%", "A".repeat(5_000)])("%j is no token", (pageToken) => {
  expect(() => pageOf({ pageSize: 0, pageToken }, cursor)).toThrow("page_token must be a next_page_token of this list");
});

test("a text that PostgreSQL cannot hold is no token", () => {
  const byName = z.strictObject({ after: z.string() });
  const pageToken = Buffer.from(JSON.stringify({ after: "a\0" })).toString("base64url");
  expect(() => pageOf({ pageSize: 0, pageToken }, byName)).toThrow("page_token must be a next_page_token of this list");
});
