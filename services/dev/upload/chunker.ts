import { createHash } from "node:crypto";
import { open } from "node:fs/promises";

export interface Chunk {
  readonly hash: string;
  readonly sizeBytes: number;
  readonly blockIndex: number;
  /** Where the chunk begins in the file. */
  readonly offset: number;
}

export const chunkBytes = 256 * 1024;

/** Cuts a file into chunks of 256 KiB (the last one shorter) and hashes each; the content itself is not kept. */
export async function cutFile(path: string): Promise<Chunk[]> {
  await using file = await open(path, "r");
  const chunks: Chunk[] = [];
  const buffer = Buffer.alloc(chunkBytes);
  for (let offset = 0; ; ) {
    const sizeBytes = await readFully(file, buffer, offset);
    if (sizeBytes === 0) return chunks;
    const hash = createHash("sha256").update(buffer.subarray(0, sizeBytes)).digest("hex");
    chunks.push({ hash, sizeBytes, blockIndex: chunks.length, offset });
    offset += sizeBytes;
  }
}

export async function readChunk(path: string, chunk: Chunk): Promise<Buffer> {
  await using file = await open(path, "r");
  const content = Buffer.alloc(chunk.sizeBytes);
  const size = await readFully(file, content, chunk.offset);
  if (size !== chunk.sizeBytes) throw new Error(`${path} has become shorter while it was uploaded`);
  return content;
}

async function readFully(file: Awaited<ReturnType<typeof open>>, buffer: Buffer, position: number): Promise<number> {
  let filled = 0;
  while (filled < buffer.length) {
    const { bytesRead } = await file.read(buffer, filled, buffer.length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}

export interface Batch {
  readonly chunks: Chunk[];
}

/**
 * Groups a file's chunks into uploads of at most 1,000 distinct chunks, as one placement call takes. A chunk that
 * stands in the file more than once is uploaded once.
 */
export function batchesOf(chunks: readonly Chunk[], most = 1000): Batch[] {
  const distinct = [...new Map(chunks.map((chunk) => [chunk.hash, chunk])).values()];
  const batches: Batch[] = [];
  for (let start = 0; start < distinct.length; start += most) {
    batches.push({ chunks: distinct.slice(start, start + most) });
  }
  return batches;
}
