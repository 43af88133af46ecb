import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import type { Server } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { serveChunks } from "./chunk-server.ts";
import { maxChunkBytes, openChunkStore, type StoredChunk } from "./chunk-store.ts";

let folder = "";
let server: Server;
let url = "";
let port = 0;
const stored: StoredChunk[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "decentrastore-chunks-"));
  const store = await openChunkStore(folder);
  const serving = await serveChunks({ store, host: "127.0.0.1", port: 0, onStored: (chunk) => stored.push(chunk) });
  ({ server, port } = serving);
  url = `http://127.0.0.1:${port}/chunks`;
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

function chunkOf(size: number): { content: Uint8Array<ArrayBuffer>; hash: string } {
  const content = new Uint8Array(randomBytes(size));
  return { content, hash: createHash("sha256").update(content).digest("hex") };
}

function put(hash: string, body: Uint8Array<ArrayBuffer>): Promise<Response> {
  return fetch(`${url}/${hash}`, { method: "PUT", body });
}

it("stores what fits its hash, reports it, and serves it again", async () => {
  const { content, hash } = chunkOf(300_000);
  expect((await put(hash, content)).status).toBe(201);
  expect(stored.at(-1)).toEqual({ hash, size: 300_000 });
  const answer = await fetch(`${url}/${hash}`);
  expect(Buffer.from(await answer.arrayBuffer()).equals(Buffer.from(content))).toBe(true);
  expect((await put(hash, content)).status).toBe(201);
});

it("keeps nothing of content that does not fit its hash", async () => {
  const before = stored.length;
  const { content } = chunkOf(1000);
  const other = chunkOf(1000).hash;
  expect((await put(other, content)).status).toBe(422);
  expect((await fetch(`${url}/${other}`)).status).toBe(404);
  expect(stored).toHaveLength(before);
  expect(await readdir(join(folder, "incoming"))).toEqual([]);
});

it("keeps nothing of a transfer that breaks off", async () => {
  const { content, hash } = chunkOf(100_000);
  const socket = connect(port, "127.0.0.1");
  socket.write(`PUT /chunks/${hash} HTTP/1.1\r\nHost: node\r\nContent-Length: 100000\r\n\r\n`);
  socket.write(content.subarray(0, 40_000));
  await expect.poll(() => readdir(join(folder, "incoming"))).toHaveLength(1);
  socket.destroy();
  await expect.poll(() => readdir(join(folder, "incoming"))).toEqual([]);
  expect((await fetch(`${url}/${hash}`)).status).toBe(404);
});

it("refuses a chunk that is announced larger than any chunk may be", async () => {
  const socket = connect(port, "127.0.0.1");
  socket.write(`PUT /chunks/${"a".repeat(64)} HTTP/1.1\r\nHost: node\r\nContent-Length: ${maxChunkBytes + 1}\r\n\r\n`);
  const [answer] = await Array.fromAsync(socket.setEncoding("utf8"));
  expect(answer).toMatch(/^HTTP\/1.1 413 /);
});

it.each(["../secret", "A".repeat(64), "a".repeat(63), `${"a".repeat(64)}0`, "%2e%2e%2fkey.pem"])(
  "does not take %s for a chunk hash",
  async (name) => {
    const { content } = chunkOf(10);
    const answer = await fetch(`${url}/${name}`, { method: "PUT", body: content });
    expect([400, 404]).toContain(answer.status);
  },
);
