import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import type { ChunkStore, StoredChunk } from "./chunk-store.ts";
import { isChunkHash, maxChunkBytes } from "./chunk-store.ts";

export interface ChunkServerOptions {
  readonly store: ChunkStore;
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** Called after a chunk is safely on disk, also when it already was. */
  readonly onStored: (chunk: StoredChunk) => void;
}

/** The sample data plane: `PUT /chunks/<hash>` and `GET /chunks/<hash>`, plain HTTP. Resolves when it listens. */
export async function serveChunks(options: ChunkServerOptions): Promise<{ server: Server; port: number }> {
  const server = createServer((request, response) => {
    handle(options, request, response).catch((error: unknown) => {
      if (!response.headersSent) answer(response, 500, error instanceof Error ? error.message : "internal error");
      else response.destroy();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the chunk server has no TCP address");
  return { server, port: address.port };
}

async function handle(options: ChunkServerOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const hash = /^\/chunks\/([^/?]+)$/.exec(request.url ?? "")?.[1];
  if (hash === undefined) return answer(response, 404, "only /chunks/<hash> is served here");
  if (!isChunkHash(hash)) return answer(response, 400, "the chunk hash must be 64 lowercase hex characters");
  if (request.method === "PUT") return await put(options, hash, request, response);
  if (request.method === "GET" || request.method === "HEAD") return await get(options, hash, request, response);
  answer(response, 405, "only PUT, GET and HEAD are served here");
}

async function put(options: ChunkServerOptions, hash: string, request: IncomingMessage, response: ServerResponse) {
  if (Number(request.headers["content-length"] ?? 0) > maxChunkBytes) return refuseTooLarge(request, response);
  const result = await options.store.put(hash, request);
  if (result.kind === "too-large") return refuseTooLarge(request, response);
  if (result.kind === "wrong-hash") return answer(response, 422, `the content's SHA-256 is ${result.actual}`);
  options.onStored({ hash, size: result.size });
  answer(response, 201, "stored");
}

async function get(options: ChunkServerOptions, hash: string, request: IncomingMessage, response: ServerResponse) {
  const chunk = await options.store.read(hash);
  if (chunk === undefined) return answer(response, 404, "this node does not hold the chunk");
  response.writeHead(200, { "content-type": "application/octet-stream", "content-length": chunk.size });
  if (request.method === "HEAD") {
    chunk.stream.destroy();
    response.end();
  } else {
    await pipeline(chunk.stream, response);
  }
}

function refuseTooLarge(request: IncomingMessage, response: ServerResponse): void {
  response.once("finish", () => request.destroy()); // the rest of the body is not worth reading
  answer(response, 413, `a chunk has at most ${maxChunkBytes} bytes`);
}

function answer(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status, { "content-type": "text/plain" }).end(`${message}\n`);
}
