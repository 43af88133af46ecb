import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { batchesOf, chunkBytes, cutFile, readChunk } from "./chunker.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "decentrastore-chunker-"));
});
afterAll(() => rm(folder, { recursive: true }));

it("cuts a file into whole chunks and a shorter last one that together are the file", async () => {
  const content = randomBytes(2 * chunkBytes + 17);
  const path = join(folder, "file");
  await writeFile(path, content);
  const chunks = await cutFile(path);
  expect(chunks.map((chunk) => chunk.sizeBytes)).toEqual([chunkBytes, chunkBytes, 17]);
  const pieces = await Promise.all(chunks.map((chunk) => readChunk(path, chunk)));
  expect(Buffer.concat(pieces).equals(content)).toBe(true);
});

it("finds no chunk in an empty file", async () => {
  const path = join(folder, "empty");
  await writeFile(path, "");
  expect(await cutFile(path)).toEqual([]);
});

it("uploads a repeated chunk once and keeps every upload within the limit", async () => {
  const path = join(folder, "repeated");
  await writeFile(path, Buffer.alloc(3 * chunkBytes));
  const chunks = await cutFile(path);
  expect(batchesOf(chunks).map((batch) => batch.chunks.length)).toEqual([1]);
  const many = Array.from({ length: 2500 }, (_, index) => ({
    hash: `${index}`,
    sizeBytes: 1,
    blockIndex: index,
    offset: index,
  }));
  expect(batchesOf(many).map((batch) => batch.chunks.length)).toEqual([1000, 1000, 500]);
});
