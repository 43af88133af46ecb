import { create } from "@bufbuild/protobuf";
import { type NodeCommand, NodeCommandSchema } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { NodeRecord } from "../directory/node-record.ts";
import type { NodeTable } from "../directory/node-table.ts";

/** What a node is to fetch, and who has it. */
export interface Fetch {
  readonly commandId: string;
  readonly nodeRowId: bigint;
  readonly chunkHash: string;
  readonly sizeBytes: bigint;
  readonly deadline: Temporal.Instant;
  readonly holders: readonly bigint[];
}

const MAX_SOURCES = 10;

/** By the fetching node's node_id. A fetch without a source that could answer is left out until there is one. */
export function fetchCommands(
  view: NodeTable,
  fetches: readonly Fetch[],
  random: () => number,
): ReadonlyMap<string, readonly NodeCommand[]> {
  const commands = new Map<string, NodeCommand[]>();
  for (const fetch of fetches) {
    const node = view.nodeByRowId(fetch.nodeRowId);
    const sources = sourcesOf(view, fetch.holders, random);
    if (node === undefined || sources.length === 0) continue;
    const list = commands.get(node.nodeId) ?? [];
    list.push(toCommand(fetch, sources));
    commands.set(node.nodeId, list);
  }
  return commands;
}

/** Online ones first, in a random order so that the load is shared; silent ones may still serve. */
function sourcesOf(view: NodeTable, holders: readonly bigint[], random: () => number): NodeRecord[] {
  const nodes = holders.flatMap((rowId) => view.nodeByRowId(rowId) ?? []);
  const serving = nodes.filter(({ state }) => state !== "disqualified" && state !== "deregistered");
  const ranked = serving.map((node) => ({ node, rank: (node.liveness === "online" ? 0 : 1) + random() }));
  return ranked
    .filter(({ node }) => node.liveness !== "offline")
    .sort((a, b) => a.rank - b.rank)
    .slice(0, MAX_SOURCES)
    .map(({ node }) => node);
}

function toCommand(fetch: Fetch, sources: readonly NodeRecord[]): NodeCommand {
  return create(NodeCommandSchema, {
    commandId: fetch.commandId,
    deadline: toTimestamp(fetch.deadline),
    command: {
      case: "fetchChunk",
      value: {
        chunkHash: fetch.chunkHash,
        sizeBytes: fetch.sizeBytes,
        sources: sources.map(({ nodeId, address }) => ({
          nodeId,
          address: { host: address.host, port: address.port },
        })),
      },
    },
  });
}
