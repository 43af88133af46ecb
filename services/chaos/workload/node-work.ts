import type { Client } from "@connectrpc/connect";
import type { NodeCommand } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import { type NodeService, StoredChunkResult } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import type { StoredChunk } from "../../dev/sample-node/chunk-store.ts";
import { createCommandRunner } from "../../dev/sample-node/commands.ts";
import { drop, type Holdings } from "../../dev/sample-node/holdings.ts";
import type { Identity } from "../../dev/sample-node/identity.ts";
import { createReporter } from "../../dev/sample-node/reporter.ts";
import type { ChunkRecord, History } from "../history.ts";
import type { LoadStore } from "./load-chunks.ts";

export interface NodeWorkOptions {
  readonly identity: Identity;
  readonly history: History;
  readonly store: LoadStore;
  readonly holdings: Holdings;
  readonly client: () => Client<typeof NodeService>;
  readonly signal: AbortSignal;
}

export interface NodeWork {
  /** Takes the chunks and says so; "stored" when each of them counts as stored here now. */
  take(chunks: readonly ChunkRecord[]): Promise<"stored" | "refused" | "unknown">;
  /** A chunk came from another node: it is reported until that is heard. */
  onStored(chunk: StoredChunk): void;
  obey(commands: readonly NodeCommand[]): void;
}

/** What a node does with chunks, by the code of the sample node. */
export function createNodeWork(options: NodeWorkOptions): NodeWork {
  const { identity, history, store, holdings, client, signal } = options;
  const nameOf = (hash: string) => `${identity.nodeId} ${hash}`;
  const report = async (chunks: readonly StoredChunk[]) => {
    const chunkHashes = chunks.map(({ hash }) => hash);
    const sizesBytes = chunks.map(({ size }) => BigInt(size));
    const { results } = await client().reportStoredChunks({ chunkHashes, sizesBytes });
    if (results.length !== chunks.length) throw new Error("not one result for each chunk");
    return chunks.map((chunk, index) => {
      const result = results[index];
      const isKept = result === StoredChunkResult.CONFIRMED || result === StoredChunkResult.ALREADY_CONFIRMED;
      if (!isKept) return "delete";
      history.confirmed.add(nameOf(chunk.hash));
      // It may have been told to delete the chunk while it reported it.
      if (store.has(chunk.hash)) holdings.confirm(chunk);
      return "keep";
    });
  };
  const remove = (hash: string) => drop(store, holdings, hash);
  const say = () => {}; // what fails is in the record of calls
  const reporter = createReporter({ report, remove, say, signal });
  void reporter.run();
  const onStored = (chunk: StoredChunk) => {
    history.reported.add(nameOf(chunk.hash));
    reporter.add(chunk);
  };
  const renewCertificate = async () => {
    await client().renewCertificate({ csrPem: await identity.certificateRequest() });
  };
  const { withdraw } = reporter;
  const chunkWork = { store, holdings, onStored, withdraw };
  const obey = createCommandRunner({ client, ...chunkWork, renewCertificate, proofDelayMs: 0, say });
  const take: NodeWork["take"] = async (chunks) => {
    const stored = chunks.map(({ chunkHash: hash, sizeBytes }) => ({ hash, size: Number(sizeBytes) }));
    for (const chunk of chunks) store.keep(chunk);
    for (const { hash } of stored) history.reported.add(nameOf(hash));
    try {
      const verdicts = await report(stored);
      const unwanted = stored.filter((_, index) => verdicts[index] === "delete");
      for (const { hash } of unwanted) await remove(hash);
      return unwanted.length === 0 ? "stored" : "refused";
    } catch {
      for (const chunk of stored) reporter.add(chunk);
      return "unknown";
    }
  };
  return { take, onStored, obey };
}
