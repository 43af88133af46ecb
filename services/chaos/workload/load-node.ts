import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "@connectrpc/connect";
import { type NodeService, StoredChunkResult } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { serveChunks } from "../../dev/sample-node/chunk-server.ts";
import { enroll } from "../../dev/sample-node/enrollment.ts";
import { createHoldings, type Holdings } from "../../dev/sample-node/holdings.ts";
import { openIdentity } from "../../dev/sample-node/identity.ts";
import type { History } from "../history.ts";
import { ask, pause } from "./ask.ts";
import { createLoadStore } from "./load-chunks.ts";
import { connectNode, NODE_TIMEOUT_MS } from "./node-connection.ts";
import { createNodeWork, type NodeWork } from "./node-work.ts";

export const NODE_CAPACITY_GB = 10;

/** A storage node that does all that is asked of it: it keeps, proves, fetches, deletes and compares, in memory. */
export interface LoadNode extends NodeWork {
  readonly nodeId: string;
  readonly client: Client<typeof NodeService>;
  /** What the registry has confirmed to it. */
  readonly holdings: Holdings;
  /** Reports a chunk that was never placed here, which must not count. */
  lie(chunkHash: string): Promise<void>;
  /** From now on, until `speak`, it says nothing to anybody: a node whose owner has switched it off. */
  fallSilent(): void;
  speak(): void;
  isSilent(): boolean;
  /** Resolves when it is not silent, or early when the signal fires. */
  speech(signal: AbortSignal): Promise<void>;
}

export interface JoinOptions {
  readonly folder: string;
  readonly name: string;
  readonly registryUrl: string;
  readonly edgeUrl: string;
  readonly joinToken: string;
  readonly history: History;
  /** The end of the node's life. */
  readonly signal: AbortSignal;
}

export async function joinNode(options: JoinOptions): Promise<LoadNode> {
  const { registryUrl, joinToken, history, signal } = options;
  const folder = join(options.folder, options.name);
  await mkdir(folder, { recursive: true });
  const identity = await openIdentity(folder);
  const { nodeId } = identity;
  let isSilent = false;
  const store = createLoadStore(() => isSilent);
  const holdings = createHoldings();
  const { server, port } = await serveChunks({ store, host: "127.0.0.1", port: 0, onStored: () => {} }); // others only fetch
  signal.addEventListener("abort", () => {
    server.close();
    server.closeAllConnections();
  });
  const address = { host: "127.0.0.1", port };
  const asked = { folder, identity, registryUrl, joinToken, address, capacityGb: NODE_CAPACITY_GB, region: undefined };
  const credentials = await enroll(asked);
  const record = { history, isSilent: () => isSilent };
  const { client, recorded } = connectNode(options.edgeUrl, identity, credentials, record);
  const work = createNodeWork({ identity, history, store, holdings, client: () => recorded, signal });
  return {
    nodeId,
    client,
    holdings,
    ...work,
    take: async (chunks) => (isSilent ? "unknown" : await work.take(chunks)),
    fallSilent: () => {
      isSilent = true;
    },
    speak: () => {
      isSilent = false;
    },
    isSilent: () => isSilent,
    speech: async (until) => {
      while (isSilent && !until.aborted) await pause(200, until);
    },
    lie: async (chunkHash) => {
      if (isSilent) return;
      const call = () => client.reportStoredChunks({ chunkHashes: [chunkHash] }, { timeoutMs: NODE_TIMEOUT_MS });
      const outcome = await ask(history, "ReportStoredChunks", call);
      if (outcome.answer === "acknowledged" && outcome.value.results[0] !== StoredChunkResult.NOT_PLACED) {
        history.falseConfirmations.push(`${nodeId} ${chunkHash}: ${outcome.value.results[0]}`);
      }
    },
  };
}
