import type { NodeCommand } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import { fetchCommands } from "./fetch-commands.ts";
import type { RepairDeps } from "./repair-deps.ts";
import { readRepairs } from "./repairs.store.ts";

const ROUND_MS = 1_000;

/** The fetches under way, in the memory of every process: whichever one hears the node tells it. */
export interface FetchBoard {
  commandsFor(nodeId: string, limit: number): readonly NodeCommand[];
  refresh(): Promise<void>;
  /** Reads them anew once a second until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

export function createFetchBoard(deps: RepairDeps): FetchBoard {
  let commands: ReadonlyMap<string, readonly NodeCommand[]> = new Map();
  const board: FetchBoard = {
    commandsFor: (nodeId, limit) => commands.get(nodeId)?.slice(0, limit) ?? [],
    refresh: async () => {
      const open = (await readRepairs(deps.pool)).filter(({ state, isRefused }) => state === "assigned" && !isRefused);
      commands = fetchCommands(deps.view, open, deps.random);
    },
    run: async (signal) => {
      while (!signal.aborted) {
        try {
          await board.refresh();
        } catch (error) {
          deps.log.warn({ err: error }, "the repairs under way cannot be read, trying again");
        }
        await deps.clock.sleep(ROUND_MS, signal);
      }
    },
  };
  return board;
}
