import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { NodeCommand } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import { NodeService, StoredChunkResult } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { openHttp2Sessions } from "#platform/identity/http2-sessions.ts";
import { enroll } from "../../dev/sample-node/enrollment.ts";
import { openIdentity } from "../../dev/sample-node/identity.ts";
import type { History } from "../history.ts";
import { ask, type Outcome, pause } from "./ask.ts";

export const NODE_CAPACITY_GB = 10;
const TIMEOUT_MS = 4_000;

/** A storage node as the registry sees one; it stores nothing. */
export interface LoadNode {
  readonly nodeId: string;
  readonly client: Client<typeof NodeService>;
  /** True when each of these counts as stored here now. */
  report(chunkHashes: readonly string[]): Promise<"stored" | "refused" | "unknown">;
  /** Reports a chunk that was never placed here, which must not count. */
  lie(chunkHash: string): Promise<void>;
  obey(commands: readonly NodeCommand[]): void;
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
}

export async function joinNode(options: JoinOptions): Promise<LoadNode> {
  const { registryUrl, joinToken, history } = options;
  const folder = join(options.folder, options.name);
  await mkdir(folder, { recursive: true });
  const identity = await openIdentity(folder);
  const address = { host: "127.0.0.1", port: 9000 };
  const asked = { folder, identity, registryUrl, joinToken, address, capacityGb: NODE_CAPACITY_GB, region: undefined };
  const credentials = await enroll(asked);
  // A connection that has gone silent is found out and made anew, as any node has to.
  const ping = { pingIntervalMs: 2_000, pingTimeoutMs: 1_500, pingIdleConnection: true };
  const sessionManager = openHttp2Sessions(options.edgeUrl, ping, {
    key: identity.privateKeyPem,
    cert: credentials.certificatePem,
    ca: credentials.caCertificatePem,
  });
  const transport = createGrpcTransport({ baseUrl: options.edgeUrl, sessionManager });
  const client = createClient(NodeService, transport);
  const { nodeId } = identity;
  let isSilent = false;
  return {
    nodeId,
    client,
    fallSilent: () => {
      isSilent = true;
    },
    speak: () => {
      isSilent = false;
    },
    isSilent: () => isSilent,
    speech: async (signal) => {
      while (isSilent && !signal.aborted) await pause(200, signal);
    },
    report: async (chunkHashes) =>
      isSilent ? "unknown" : judged(history, nodeId, chunkHashes, await reportStored(history, client, chunkHashes)),
    lie: async (chunkHash) => {
      if (isSilent) return;
      const outcome = await reportStored(history, client, [chunkHash]);
      if (outcome.answer === "acknowledged" && outcome.value[0] !== StoredChunkResult.NOT_PLACED) {
        history.falseConfirmations.push(`${nodeId} ${chunkHash}: ${outcome.value[0]}`);
      }
    },
    obey: (commands) => {
      for (const { command } of commands) {
        if (command.case !== "deleteChunks") continue;
        const { chunkHashes } = command.value;
        // Not awaited: the command is repeated until it was heard.
        void ask(history, "ReportDeletedChunks", () =>
          client.reportDeletedChunks({ chunkHashes }, { timeoutMs: TIMEOUT_MS }),
        );
      }
    },
  };
}

function reportStored(
  history: History,
  client: Client<typeof NodeService>,
  chunkHashes: readonly string[],
): Promise<Outcome<readonly StoredChunkResult[]>> {
  return ask(history, "ReportStoredChunks", async () => {
    const { results } = await client.reportStoredChunks({ chunkHashes: [...chunkHashes] }, { timeoutMs: TIMEOUT_MS });
    if (results.length !== chunkHashes.length) throw new Error("not one result for each chunk");
    return results;
  });
}

function judged(
  history: History,
  nodeId: string,
  chunkHashes: readonly string[],
  outcome: Outcome<readonly StoredChunkResult[]>,
): "stored" | "refused" | "unknown" {
  for (const hash of chunkHashes) history.reported.add(`${nodeId} ${hash}`);
  if (outcome.answer !== "acknowledged") return outcome.answer;
  let stored = 0;
  for (const [index, result] of outcome.value.entries()) {
    if (result !== StoredChunkResult.CONFIRMED && result !== StoredChunkResult.ALREADY_CONFIRMED) continue;
    stored += 1;
    history.confirmed.add(`${nodeId} ${chunkHashes[index]}`);
  }
  return stored === chunkHashes.length ? "stored" : "refused";
}
