import { hash, randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { type NodeCommand, NodeCommandSchema } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import { fromTimestamp, toTimestamp } from "#platform/rpc/time.ts";
import type { Clock } from "#platform/time/clock.ts";
import { digestFromBytes } from "./chunk-digest.ts";

const COMMAND_LIFE = Temporal.Duration.from({ minutes: 10 });
const RENEW_MS = COMMAND_LIFE.total("milliseconds") / 2;
// An equal digest is compared again after this, because the registry's own sum may have changed since.
const RECHECK_MS = 600_000;
// A node that has just reported gets time to act on the answer before it is asked again.
const QUIET_AFTER_REPORT_MS = 30_000;
// A digest in which something is always under way is taken seriously after this.
const UNSETTLED_LIMIT_MS = 300_000;
// What is to be deleted is said again for so long after it was last read: a node may have confirmed it at another process,
// and have got the chunk anew. Longer than the time between two heartbeats, so that each portion is said once at least.
const DELETIONS_STAND_MS = 20_000;
// A node not heard by this process for so long, and for a lease, is somebody else's affair, or nobody's.
const FORGET_MS = 300_000;

interface Heard {
  atMs: number;
  digest: bigint | undefined;
  /** Since when the digest waits to be compared; undefined where it need not be. */
  waiting: boolean;
  equalDigest: bigint | undefined;
  equalAtMs: number;
  differsSinceMs: number | undefined;
  report: NodeCommand | undefined;
  reportedAtMs: number;
  deletions: readonly string[];
  deletion: NodeCommand | undefined;
  deletionsReadAtMs: number;
}

/**
 * What nodes are to be told, in memory: a heartbeat's answer asks no database. It knows the nodes that this process
 * hears; `node-commands.worker.ts` fills it.
 */
export interface NodeCommands {
  onHeartbeat(nodeId: string, chunkDigest: Uint8Array | undefined): void;
  commandsFor(nodeId: string, limit: number): readonly NodeCommand[];
  /** Digests to compare with the registry's. */
  takeWaiting(limit: number): readonly { readonly nodeId: string; readonly digest: bigint }[];
  compared(nodeId: string, digest: bigint, result: "equal" | "different" | "unsettled"): void;
  /** Nodes heard lately, of those given. */
  isHeard(nodeId: string): boolean;
  setDeletions(nodeId: string, hashes: readonly string[]): void;
  /** They were still the node's deletions at that time. False where it has none to repeat. */
  deletionsStand(nodeId: string, readAtMs: number): boolean;
  deleted(nodeId: string, hashes: readonly string[]): void;
  /** The node has said which chunks it has. */
  reported(nodeId: string): void;
  /** Drops nodes that have fallen silent: for a lease, within which each of them would have come. */
  forgetSilent(leaseTtlMs: number): void;
}

export function createNodeCommands(clock: Clock): NodeCommands {
  const nodes = new Map<string, Heard>();
  return {
    onHeartbeat: (nodeId, chunkDigest) => {
      const nowMs = clock.monotonicMs();
      const node = nodes.get(nodeId) ?? newlyHeard(nowMs);
      nodes.set(nodeId, node);
      node.atMs = nowMs;
      node.digest = chunkDigest === undefined ? undefined : digestFromBytes(chunkDigest);
      const isKnownEqual = node.digest === node.equalDigest && nowMs - node.equalAtMs < RECHECK_MS;
      node.waiting = node.digest !== undefined && !isKnownEqual;
    },
    commandsFor: (nodeId, limit) => {
      const node = nodes.get(nodeId);
      if (node === undefined) return NONE;
      const nowMs = clock.monotonicMs();
      const isQuiet = nowMs - node.reportedAtMs < QUIET_AFTER_REPORT_MS;
      const isOld = nowMs - node.deletionsReadAtMs > DELETIONS_STAND_MS;
      if ((node.deletion === undefined || isOld) && (node.report === undefined || isQuiet)) return NONE;
      const deletion = renewed(node.deletion, clock);
      const report = renewed(node.report, clock);
      Object.assign(node, { deletion, report });
      const said = [isOld ? undefined : deletion, isQuiet ? undefined : report];
      return said.filter((command) => command !== undefined).slice(0, limit);
    },
    takeWaiting: (limit) => takeWaiting(nodes, limit),
    compared: (nodeId, digest, result) => {
      const node = nodes.get(nodeId);
      if (node === undefined) return;
      if (result === "equal") Object.assign(node, { equalDigest: digest, equalAtMs: clock.monotonicMs() });
      applyComparison(node, result, clock);
    },
    isHeard: (nodeId) => nodes.has(nodeId),
    setDeletions: (nodeId, hashes) => {
      const node = nodes.get(nodeId);
      if (node !== undefined) setDeletions(node, nodeId, hashes, clock);
    },
    deletionsStand: (nodeId, readAtMs) => {
      const node = nodes.get(nodeId);
      if (node?.deletion === undefined) return false;
      node.deletionsReadAtMs = readAtMs;
      return true;
    },
    deleted: (nodeId, hashes) => {
      const node = nodes.get(nodeId);
      if (node === undefined || node.deletions.length === 0) return;
      const gone = new Set(hashes);
      setDeletions(
        node,
        nodeId,
        node.deletions.filter((chunkHash) => !gone.has(chunkHash)),
        clock,
      );
    },
    reported: (nodeId) => {
      const node = nodes.get(nodeId);
      if (node !== undefined) node.reportedAtMs = clock.monotonicMs();
    },
    forgetSilent: (leaseTtlMs) => {
      const limitMs = clock.monotonicMs() - Math.max(FORGET_MS, leaseTtlMs);
      for (const [nodeId, node] of nodes) if (node.atMs < limitMs) nodes.delete(nodeId);
    },
  };
}

const NONE: readonly NodeCommand[] = [];

function newlyHeard(nowMs: number): Heard {
  return {
    atMs: nowMs,
    digest: undefined,
    waiting: false,
    equalDigest: undefined,
    equalAtMs: 0,
    differsSinceMs: undefined,
    report: undefined,
    reportedAtMs: Number.NEGATIVE_INFINITY,
    deletions: [],
    deletion: undefined,
    deletionsReadAtMs: Number.NEGATIVE_INFINITY,
  };
}

function takeWaiting(nodes: ReadonlyMap<string, Heard>, limit: number) {
  const taken: { nodeId: string; digest: bigint }[] = [];
  for (const [nodeId, node] of nodes) {
    if (taken.length >= limit) break;
    if (!node.waiting || node.digest === undefined) continue;
    node.waiting = false;
    taken.push({ nodeId, digest: node.digest });
  }
  return taken;
}

function applyComparison(node: Heard, result: "equal" | "different" | "unsettled", clock: Clock): void {
  if (result === "equal") {
    node.differsSinceMs = undefined;
    node.report = undefined;
    return;
  }
  node.equalDigest = undefined;
  node.differsSinceMs ??= clock.monotonicMs();
  const isOld = clock.monotonicMs() - node.differsSinceMs > UNSETTLED_LIMIT_MS;
  if (result === "different" || isOld) {
    node.report ??= newCommand(randomUUID(), clock, { case: "reportChunks", value: { buckets: [] } });
  }
}

function setDeletions(node: Heard, nodeId: string, hashes: readonly string[], clock: Clock): void {
  if (hashes.length === 0) {
    node.deletions = [];
    node.deletion = undefined;
    return;
  }
  // The same work has the same id in every repetition and in every process.
  const commandId = idOf(`${nodeId} delete ${hashes.join(" ")}`);
  if (node.deletion?.commandId === commandId) return;
  node.deletions = hashes;
  node.deletion = newCommand(commandId, clock, { case: "deleteChunks", value: { chunkHashes: [...hashes] } });
}

type Work =
  | { case: "deleteChunks"; value: { chunkHashes: string[] } }
  | { case: "reportChunks"; value: { buckets: number[] } };

function newCommand(commandId: string, clock: Clock, command: Work): NodeCommand {
  return create(NodeCommandSchema, { commandId, deadline: toTimestamp(clock.now().add(COMMAND_LIFE)), command });
}

/** The same command with its deadline ahead: we wait for as long as we repeat it, and a node may skip what is overdue. */
function renewed(command: NodeCommand | undefined, clock: Clock): NodeCommand | undefined {
  if (command?.deadline === undefined) return command;
  const now = clock.now();
  const aheadMs = fromTimestamp(command.deadline).epochMilliseconds - now.epochMilliseconds;
  return aheadMs >= RENEW_MS ? command : { ...command, deadline: toTimestamp(now.add(COMMAND_LIFE)) };
}

/** A UUID (version 8, RFC 9562) that the content determines. */
function idOf(content: string): string {
  const hex = hash("sha256", content, "hex");
  const variant = ((Number.parseInt(hex.slice(16, 17), 16) & 0x3) | 0x8).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
