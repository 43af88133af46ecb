import { create } from "@bufbuild/protobuf";
import { type NodeCommand, NodeCommandSchema } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { Challenge } from "./challenge.ts";
import type { Reception } from "./reception.ts";
import { carried, isOverdue, notCarried, type Waiting } from "./waiting.ts";

/**
 * What this process knows of challenges to the nodes that beat at it: looked at for every heartbeat, so all of it is in
 * memory. The rows behind it are the truth: a node that is new here gets its open challenges read first.
 */
export interface Board {
  /** Open challenges as commands, oldest first, and the sign that the node is here. */
  commandsFor(nodeRowId: bigint, limit: number): readonly NodeCommand[];
  find(commandId: string): Challenge | undefined;
  add(challenges: readonly Challenge[]): void;
  remove(commandId: string): void;
  /** Challenges whose node has had its whole window and goes on beating. */
  overdue(): readonly Challenge[];
  /** Nodes whose open challenges have not been read yet. */
  unread(limit: number): readonly bigint[];
  read(nodeRowIds: readonly bigint[]): void;
  /** Nodes that may have something due and can be asked for more, those that waited longest first. */
  askable(limit: number, isAsked: (nodeRowId: bigint) => boolean): readonly { nodeRowId: bigint; room: number }[];
  /** When to look at a node's due replicas again, on the monotonic clock. */
  lookAgain(nodeRowId: bigint, atMs: number): void;
  /** Forgets nodes that have not been heard from for this long. */
  forgetSilent(ms: number): void;
  openCount(): number;
}

export interface BoardRules {
  /** What a node gets to answer. */
  readonly windowMs: number;
  /** The most that one gap between heartbeats counts of it. */
  readonly maxGapMs: number;
  /** Open challenges of a node at one time. */
  readonly maxOpenPerNode: number;
}

interface Open {
  readonly challenge: Challenge;
  waiting: Waiting;
}

interface NodeEntry {
  readonly nodeRowId: bigint;
  readonly open: Map<string, Open>;
  heardAtMs: number;
  isRead: boolean;
  lookAtMs: number;
}

const NO_COMMANDS: readonly NodeCommand[] = [];

export function createBoard(deps: {
  readonly clock: Clock;
  readonly reception: Reception;
  readonly rules: BoardRules;
}): Board {
  const { clock, reception, rules } = deps;
  const nodes = new Map<bigint, NodeEntry>();
  const byCommand = new Map<string, { readonly entry: NodeEntry; readonly open: Open }>();
  const unread = new Set<bigint>();

  function heard(nodeRowId: bigint, nowMs: number): NodeEntry {
    const known = nodes.get(nodeRowId);
    if (known !== undefined) {
      known.heardAtMs = nowMs;
      return known;
    }
    const entry = { nodeRowId, open: new Map(), heardAtMs: nowMs, isRead: false, lookAtMs: nowMs };
    nodes.set(nodeRowId, entry);
    unread.add(nodeRowId);
    return entry;
  }

  function forget(entry: NodeEntry): void {
    for (const commandId of entry.open.keys()) byCommand.delete(commandId);
    nodes.delete(entry.nodeRowId);
    unread.delete(entry.nodeRowId);
  }

  return {
    commandsFor: (nodeRowId, limit) => {
      const nowMs = clock.monotonicMs();
      const entry = heard(nodeRowId, nowMs);
      if (entry.open.size === 0 || limit <= 0) return NO_COMMANDS;
      const commands: NodeCommand[] = [];
      const now = clock.now();
      for (const open of entry.open.values()) {
        if (commands.length >= limit) break;
        open.waiting = carried(open.waiting, nowMs, reception.sinceMs(), rules.maxGapMs);
        commands.push(toCommand(open.challenge, now, Math.max(0, rules.windowMs - open.waiting.witnessedMs)));
      }
      return commands;
    },
    find: (commandId) => byCommand.get(commandId)?.open.challenge,
    add: (challenges) => {
      for (const challenge of challenges) {
        const entry = nodes.get(challenge.nodeRowId);
        // Not here any more: whoever hears the node next reads its challenges.
        if (entry === undefined || entry.open.has(challenge.commandId)) continue;
        const open = { challenge, waiting: notCarried };
        entry.open.set(challenge.commandId, open);
        byCommand.set(challenge.commandId, { entry, open });
      }
    },
    remove: (commandId) => {
      byCommand.get(commandId)?.entry.open.delete(commandId);
      byCommand.delete(commandId);
    },
    overdue: () => {
      const since = reception.sinceMs();
      return [...byCommand.values()]
        .filter(({ open }) => isOverdue(open.waiting, rules.windowMs, since))
        .map(({ open }) => open.challenge);
    },
    unread: (limit) => [...unread].slice(0, limit),
    read: (nodeRowIds) => {
      for (const nodeRowId of nodeRowIds) {
        unread.delete(nodeRowId);
        const entry = nodes.get(nodeRowId);
        if (entry !== undefined) entry.isRead = true;
      }
    },
    askable: (limit, isAsked) => {
      const nowMs = clock.monotonicMs();
      const found: { nodeRowId: bigint; room: number }[] = [];
      for (const entry of nodes.values()) {
        const room = rules.maxOpenPerNode - entry.open.size;
        if (!entry.isRead || entry.lookAtMs > nowMs || room <= 0 || !isAsked(entry.nodeRowId)) continue;
        found.push({ nodeRowId: entry.nodeRowId, room });
        if (found.length === limit) break;
      }
      return found;
    },
    lookAgain: (nodeRowId, atMs) => {
      const entry = nodes.get(nodeRowId);
      if (entry === undefined) return;
      entry.lookAtMs = atMs;
      // To the end of the map, so that everybody gets a turn.
      nodes.delete(nodeRowId);
      nodes.set(nodeRowId, entry);
    },
    forgetSilent: (ms) => {
      const before = clock.monotonicMs() - ms;
      for (const entry of [...nodes.values()]) if (entry.heardAtMs < before) forget(entry);
    },
    openCount: () => byCommand.size,
  };
}

function toCommand(challenge: Challenge, now: Temporal.Instant, remainingMs: number): NodeCommand {
  return create(NodeCommandSchema, {
    commandId: challenge.commandId,
    deadline: toTimestamp(now.add({ milliseconds: Math.round(remainingMs) })),
    command: {
      case: "proveChunk",
      value: {
        chunkHash: challenge.chunkHash,
        nonce: challenge.nonce,
        ...(challenge.leafIndex === undefined ? {} : { leafIndex: challenge.leafIndex }),
      },
    },
  });
}
