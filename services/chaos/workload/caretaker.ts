import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { pick } from "../random.ts";
import { askUntilClear, pause } from "./ask.ts";
import type { LoadContext } from "./load-context.ts";

/** An admin who takes nodes into maintenance and back. */
export async function runCaretaker(context: LoadContext): Promise<void> {
  const { random, signal, nodes } = context;
  while (!signal.aborted) {
    const nodeId = pick(random, [...nodes.keys()]);
    await setState(context, nodeId, "maintenance");
    await pause(1_000 + 3_000 * random(), signal);
    await setState(context, nodeId, "in_service");
    await pause(1_000 + 2_000 * random(), signal);
  }
}

export async function setState(
  { clients, history }: Pick<LoadContext, "clients" | "history">,
  nodeId: string,
  state: "in_service" | "maintenance",
): Promise<void> {
  const request =
    state === "in_service"
      ? { nodeId, state: NodeState.IN_SERVICE, reason: "chaos" }
      : {
          nodeId,
          state: NodeState.MAINTENANCE,
          reason: "chaos",
          maintenanceUntil: timestampFromMs(Date.now() + 3_600_000),
        };
  // Goes on after the load's end, so that no node stays out of service.
  const patience = { tries: 20, pauseMs: 300, signal: new AbortController().signal };
  const call = () => clients.directory.setNodeState(request);
  const { answer } = await askUntilClear(history, "SetNodeState", call, patience);
  history.nodeStates.push({ nodeId, state, answer });
}
