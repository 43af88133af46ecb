import type { NodeCommand } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import type { ChunkHooks, Deps } from "./deps.ts";
import type { Placer } from "./placement/placer.ts";
import { createFetchBoard } from "./repair/fetch-board.worker.ts";
import { runPlanner } from "./repair/planner.worker.ts";
import { refuseRepairs } from "./repair/repairs.store.ts";

/** What the room of repair brings to the service. */
export interface RepairRooms {
  commandsFor(nodeId: string, limit: number): readonly NodeCommand[];
  startWorkers(signal: AbortSignal): AsyncDisposable;
}

/** A node that says it has no source ends its fetch; the planner chooses another one. */
export function repairHooks({ clock }: Pick<Deps, "clock">): Pick<ChunkHooks, "onAbsenceReported"> {
  return { onAbsenceReported: (tx, absent) => refuseRepairs(tx, absent, clock.now()) };
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
