import { Code } from "@connectrpc/connect";
import type { Clock } from "#platform/time/clock.ts";
import type { NodeRecord } from "../directory/node-record.ts";
import { registryError } from "../errors.ts";
import type { FoldedBeat } from "./beat.ts";
import type { EpochClaims } from "./epoch-claims.worker.ts";
import { createRateGuard, type RateGuard } from "./rate-guard.ts";
import type { BeatSource } from "./write-beats.worker.ts";

const OPEN_BURST = 20;
const OPENS_PER_SECOND = 1;

/** One open heartbeat stream of a node. */
export interface NodeStream extends BeatSource {
  readonly rate: RateGuard;
  /** Takes over from all older streams of the node; before its first heartbeat. */
  claim(): Promise<void>;
  /** The error that ends it from outside; handlers look at it before each answer. */
  readonly ended: Error | undefined;
  /** Called when it is ended while it waits for the next request. */
  onEnd: ((error: Error) => void) | undefined;
  close(): void;
}

export interface NodeStreams {
  /** Throws TOO_MANY_STREAMS above the bounds of one node. */
  open(node: NodeRecord, peerNetwork: string): NodeStream;
  count(): number;
}

interface NodeEntry {
  readonly streams: Set<Stream>;
  tokens: number;
  refilledAtMs: number;
}

interface Stream extends NodeStream {
  /** Rises with each stream that opens. */
  readonly order: number;
  epoch: bigint | null;
  ended: Error | undefined;
}

/** The open streams of this process, by node: bounded per node, and a newer one ends the older at once. */
export function createNodeStreams(deps: {
  readonly claims: EpochClaims;
  readonly clock: Clock;
  readonly maxPerNode: number;
}): NodeStreams {
  const nodes = new Map<bigint, NodeEntry>();
  let open = 0;
  let opened = 0;

  function admit(rowId: bigint): NodeEntry {
    const entry = nodes.get(rowId) ?? {
      streams: new Set(),
      tokens: OPEN_BURST,
      refilledAtMs: deps.clock.monotonicMs(),
    };
    nodes.set(rowId, entry);
    refill(entry, deps.clock.monotonicMs());
    if (entry.streams.size >= deps.maxPerNode || entry.tokens < 1) throw tooMany(deps.maxPerNode);
    entry.tokens -= 1;
    return entry;
  }

  return {
    count: () => open,
    open: (node, peerNetwork) => {
      const entry = admit(node.rowId);
      opened += 1;
      const stream: Stream = {
        order: opened,
        node,
        peerNetwork,
        epoch: null,
        folded: undefined as FoldedBeat | undefined,
        rate: createRateGuard(),
        ended: undefined,
        onEnd: undefined,
        superseded: () => end(stream),
        claim: async () => {
          const epoch = await deps.claims.claim(node.rowId);
          stream.epoch = epoch;
          endOlder(entry.streams, stream.order, epoch);
        },
        close: () => {
          if (!entry.streams.delete(stream)) return;
          open -= 1;
        },
      };
      entry.streams.add(stream);
      open += 1;
      return stream;
    },
  };
}

function supersededError(): Error {
  return registryError(Code.Aborted, "STREAM_SUPERSEDED", "a newer heartbeat stream of this node has taken over");
}

function end(stream: Stream): void {
  stream.ended ??= supersededError();
  stream.onEnd?.(stream.ended);
}

/** One that has not claimed yet may be newer, and is then about to take over itself. */
function endOlder(streams: Iterable<Stream>, order: number, epoch: bigint): void {
  for (const other of streams) if (other.epoch === null ? other.order < order : other.epoch < epoch) end(other);
}

function refill(entry: NodeEntry, nowMs: number): void {
  entry.tokens = Math.min(OPEN_BURST, entry.tokens + ((nowMs - entry.refilledAtMs) / 1_000) * OPENS_PER_SECOND);
  entry.refilledAtMs = nowMs;
}

function tooMany(maxPerNode: number): Error {
  return registryError(
    Code.ResourceExhausted,
    "TOO_MANY_STREAMS",
    `a node may have ${maxPerNode} heartbeat streams open and open ${OPENS_PER_SECOND} per second`,
    { retryAfterMs: 5_000 },
  );
}
