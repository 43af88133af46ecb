import { type Chunk, readChunk } from "./chunker.ts";
import { progressBar } from "./progress.ts";

/** Where one replica of a chunk goes. */
export interface Target {
  readonly nodeId: string;
  readonly url: string;
}

export interface Assignment {
  readonly chunk: Chunk;
  readonly targets: readonly Target[];
}

export interface FailedTransfer {
  readonly hash: string;
  readonly nodeId: string;
  readonly reason: string;
}

const parallelChunks = 4;
const transferTimeoutMs = 60_000;

/** Sends every chunk to all of its nodes, a few chunks at a time, and returns the transfers that failed. */
export async function sendChunks(path: string, assignments: readonly Assignment[]): Promise<FailedTransfer[]> {
  const bar = progressBar(
    "sending",
    assignments.reduce((sum, { targets }) => sum + targets.length, 0),
  );
  const failures: FailedTransfer[] = [];
  const queue = assignments.values();
  const sendNext = async () => {
    for (const { chunk, targets } of queue) {
      const content = await readChunk(path, chunk);
      const results = await Promise.all(targets.map((target) => sendReplica(chunk, content, target, bar)));
      failures.push(...results.flatMap((failure) => failure ?? []));
    }
  };
  await Promise.all(Array.from({ length: parallelChunks }, sendNext));
  bar.finish();
  return failures;
}

async function sendReplica(
  chunk: Chunk,
  content: Buffer,
  target: Target,
  bar: { advance(): void },
): Promise<FailedTransfer | undefined> {
  try {
    const response = await fetch(`${target.url}/chunks/${chunk.hash}`, {
      method: "PUT",
      body: new Uint8Array(content),
      signal: AbortSignal.timeout(transferTimeoutMs),
    });
    if (response.ok) return undefined;
    return { hash: chunk.hash, nodeId: target.nodeId, reason: `${response.status} ${(await response.text()).trim()}` };
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return { hash: chunk.hash, nodeId: target.nodeId, reason: cause instanceof Error ? cause.message : String(cause) };
  } finally {
    bar.advance();
  }
}
