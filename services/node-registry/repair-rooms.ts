import type { NodeCommand } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import type { Deps } from "./deps.ts";
import type { Placer } from "./placement/placer.ts";
import { createFetchBoard } from "./repair/fetch-board.worker.ts";
import { runPlanner } from "./repair/planner.worker.ts";

/** What the room of repair brings to the service. */
export interface RepairRooms {
  commandsFor(nodeId: string, limit: number): readonly NodeCommand[];
  startWorkers(signal: AbortSignal): AsyncDisposable;
}

export function createRepairRooms(deps: Deps, placer: Placer): RepairRooms {
  const repair = { ...deps, placer };
  const board = createFetchBoard(repair);
  return {
    commandsFor: board.commandsFor,
    startWorkers: (signal) => {
      const stop = new AbortController();
      const ending = AbortSignal.any([signal, stop.signal]);
      const running = [board.run(ending), runPlanner(repair, ending)];
      return {
        [Symbol.asyncDispose]: async () => {
          stop.abort();
          await Promise.all(running);
        },
      };
    },
  };
}
