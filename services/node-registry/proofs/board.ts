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
  /** An answer to it could not be recorded, for a reason of its own: its node gets the whole window anew. */
  startAnew(commandId: string): void;
  /** Challenges whose node has had its whole window and goes on beating. */
  overdue(): readonly Challenge[];
  /** Nodes whose open challenges have not been read yet, or not since they were silent, or not for long. */
  unread(limit: number): readonly bigint[];
  /** All that is open of these nodes; what this process has witnessed of it before still counts. */
  read(nodeRowIds: readonly bigint[], open: readonly Challenge[]): void;
  /** Nodes that may have something due and can be asked for more, those that waited longest first. */
  askable(limit: number, isAsked: (nodeRowId: bigint) => boolean): readonly { nodeRowId: bigint; room: number }[];
  /** When to look at a node's due replicas again, on the monotonic clock. */
  lookAgain(nodeRowId: bigint, atMs: number): void;
  /**
   * Forgets nodes that have not been heard from for this long. Those that owe an answer are remembered for longer: or they
   * could go away, or to another process, before each window is over, and never miss anything. Has the others read again
   * from time to time.
   */
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
  isSilent: boolean;
  isRead: boolean;
  readAtMs: number;
  lookAtMs: number;
}

// After it a silent node's replicas are lost by its absence.
const DEBTORS_REMEMBERED_MS = 3_600_000;

// A process that a node has just left may still ask it for something: the one that hears it would never know.
const READ_AGAIN_MS = 300_000;

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
      if (known.isSilent) unread.add(nodeRowId);
      known.isSilent = false;
      return known;
    }
    const times = { heardAtMs: nowMs, readAtMs: nowMs, lookAtMs: nowMs };
    const entry = { nodeRowId, open: new Map(), ...times, isSilent: false, isRead: false };
    nodes.set(nodeRowId, entry);
    unread.add(nodeRowId);
    return entry;
  }

  function forget(entry: NodeEntry): void {
    for (const commandId of entry.open.keys()) byCommand.delete(commandId);
    nodes.delete(entry.nodeRowId);
    unread.delete(entry.nodeRowId);
  }

  function add(challenges: readonly Challenge[]): void {
    for (const challenge of challenges) {
      const entry = nodes.get(challenge.nodeRowId);
      // Not here any more: whoever hears the node next reads its challenges.
      if (entry === undefined || entry.open.has(challenge.commandId)) continue;
      const open = { challenge, waiting: notCarried };
      entry.open.set(challenge.commandId, open);
      byCommand.set(challenge.commandId, { entry, open });
    }
  }

  function remove(commandId: string): void {
    byCommand.get(commandId)?.entry.open.delete(commandId);
    byCommand.delete(commandId);
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
    add,
    remove,
    startAnew: (commandId) => {
      const open = byCommand.get(commandId)?.open;
      if (open !== undefined) open.waiting = notCarried;
    },
    overdue: () => {
      const since = reception.sinceMs();
      return [...byCommand.values()]
        .filter(({ open }) => isOverdue(open.waiting, rules.windowMs, since))
        .map(({ open }) => open.challenge);
    },
    unread: (limit) => [...unread].slice(0, limit),
    read: (nodeRowIds, open) => {
      const nowMs = clock.monotonicMs();
      const isOpen = new Set(open.map(({ commandId }) => commandId));
      for (const nodeRowId of nodeRowIds) {
        unread.delete(nodeRowId);
        const entry = nodes.get(nodeRowId);
        if (entry === undefined) continue;
        for (const commandId of [...entry.open.keys()]) if (!isOpen.has(commandId)) remove(commandId);
        entry.isRead = true;
        entry.readAtMs = nowMs;
      }
      add(open);
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
      const nowMs = clock.monotonicMs();
      for (const entry of [...nodes.values()]) {
        const silentMs = nowMs - entry.heardAtMs;
        if (silentMs <= ms) {
          if (nowMs - entry.readAtMs > READ_AGAIN_MS) unread.add(entry.nodeRowId);
          continue;
        }
        if (entry.open.size === 0 || silentMs > DEBTORS_REMEMBERED_MS) {
          forget(entry);
          continue;
        }
        entry.isSilent = true;
        entry.isRead = false;
      }
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
