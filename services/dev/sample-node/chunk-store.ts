import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";

/** What a node keeps on disk: one file per chunk, named by its SHA-256. */
export interface ChunkStore {
  /** Stores a chunk whose content has the given hash; anything else leaves nothing behind. */
  put(hash: string, content: Readable): Promise<PutResult>;
  read(hash: string): Promise<{ size: number; stream: Readable } | undefined>;
  remove(hash: string): Promise<void>;
  list(): Promise<StoredChunk[]>;
}

export interface StoredChunk {
  readonly hash: string;
  readonly size: number;
}

export type PutResult =
  | { kind: "stored"; size: number }
  | { kind: "too-large" }
  | { kind: "wrong-hash"; actual: string };

export const maxChunkBytes = 64 * 1024 * 1024;

const chunkName = /^[0-9a-f]{64}$/;

export function isChunkHash(text: string): boolean {
  return chunkName.test(text);
}

export async function openChunkStore(folder: string): Promise<ChunkStore> {
  const incoming = join(folder, "incoming");
  await rm(incoming, { recursive: true, force: true }); // what an interrupted transfer left
  await mkdir(incoming, { recursive: true, mode: 0o700 });
  const pathOf = (hash: string) => join(folder, hash);

  return {
    put: async (hash, content) => {
      const draft = join(incoming, randomUUID());
      try {
        const received = await receive(draft, content);
        if (received === undefined) return { kind: "too-large" };
        if (received.hash !== hash) return { kind: "wrong-hash", actual: received.hash };
        await rename(draft, pathOf(hash));
        return { kind: "stored", size: received.size };
      } finally {
        await rm(draft, { force: true });
      }
    },
    read: async (hash) => {
      const size = await sizeOf(pathOf(hash));
      return size === undefined ? undefined : { size, stream: createReadStream(pathOf(hash)) };
    },
    remove: (hash) => rm(pathOf(hash), { force: true }),
    list: async () => {
      const names = (await readdir(folder)).filter(isChunkHash);
      const chunks = await Promise.all(names.map(async (hash) => ({ hash, size: await sizeOf(pathOf(hash)) })));
      return chunks.flatMap(({ hash, size }) => (size === undefined ? [] : [{ hash, size }]));
    },
  };
}

/** Writes the content durably; undefined when it is larger than any chunk may be. */
async function receive(path: string, content: Readable): Promise<{ hash: string; size: number } | undefined> {
  const digest = createHash("sha256");
  await using file = await open(path, "wx", 0o600);
  let size = 0;
  for await (const piece of content) {
    size += piece.length;
    if (size > maxChunkBytes) return undefined;
    digest.update(piece);
    await file.write(piece);
  }
  await file.sync(); // a chunk that is reported must survive a power cut
  return { hash: digest.digest("hex"), size };
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}
