import { durationMs } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import type { NodeCommand } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import type { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { systemClock } from "#platform/time/clock.ts";
import { digestBytes } from "./digest.ts";
import type { Holdings } from "./holdings.ts";

export interface HeartbeatOptions {
  readonly client: () => Client<typeof NodeService>;
  readonly holdings: Holdings;
  readonly capacityBytes: bigint;
  readonly address: { host: string; port: number };
  readonly onCommands: (commands: readonly NodeCommand[]) => void;
  /** Called at the first answer of each connection. */
  readonly onConnected: () => void;
  readonly onLost: (error: unknown) => Promise<void>;
  readonly signal: AbortSignal;
}

const reconnectMs = { first: 500, most: 30_000 };

/**
 * Keeps one heartbeat stream open for the life of the node. The registry says in each answer when the next beat is
 * due; a lost stream is opened again after a random pause, so that a restarted registry is not stormed.
 */
export async function keepBeating(options: HeartbeatOptions): Promise<void> {
  let reconnect = reconnectMs.first;
  while (!options.signal.aborted) {
    try {
      await beatOnOneStream(options, () => {
        reconnect = reconnectMs.first;
        options.onConnected();
      });
    } catch (error) {
      if (options.signal.aborted) return;
      await options.onLost(error);
    }
    await systemClock.sleep(reconnect * Math.random(), options.signal);
    reconnect = Math.min(reconnect * 2, reconnectMs.most);
  }
}

async function beatOnOneStream(options: HeartbeatOptions, onConnected: () => void): Promise<void> {
  let answered = Promise.withResolvers<number>();
  const beats = async function* () {
    for (let sequence = 1n; !options.signal.aborted; sequence += 1n) {
      yield beat(options, sequence);
      const nextMs = await answered.promise;
      answered = Promise.withResolvers();
      await systemClock.sleep(nextMs, options.signal);
    }
  };
  let isFirst = true;
  for await (const answer of options.client().streamHeartbeats(beats(), { signal: options.signal })) {
    if (isFirst) onConnected();
    isFirst = false;
    if (answer.commands.length > 0) options.onCommands(answer.commands);
    answered.resolve(answer.nextHeartbeatIn === undefined ? 15_000 : durationMs(answer.nextHeartbeatIn));
  }
}

function beat(options: HeartbeatOptions, sequence: bigint) {
  const { usedBytes, chunkCount, digest } = options.holdings.figures();
  const freeBytes = options.capacityBytes > usedBytes ? options.capacityBytes - usedBytes : 0n;
  return {
    sequence,
    usedBytes,
    freeBytes,
    chunkCount,
    address: options.address,
    softwareVersion: "sample-node/1.0.0",
    chunkDigest: digestBytes(digest),
  };
}
