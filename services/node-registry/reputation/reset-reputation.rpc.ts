import { Code, type MethodImpl } from "@connectrpc/connect";
import type { NodeDirectoryService } from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { type Outbox, transact } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { userCallerOf } from "#platform/rpc/caller.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Clock } from "#platform/time/clock.ts";
import { findNode } from "../directory/calling-node.worker.ts";
import { toProtoNode } from "../directory/node-record.ts";
import type { NodeTable } from "../directory/node-table.ts";
import { registryError } from "../errors.ts";
import { addEvidence } from "./evidence.store.ts";
import type { ReputationRules } from "./reputation-config.ts";
import { scoreNodes } from "./score-nodes.worker.ts";
import { lockStanding } from "./standings.store.ts";

export interface ResetDeps {
  readonly pool: Pool;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly view: NodeTable;
  readonly rules: ReputationRules;
}

/** The reset is an entry of the log like any other, so what was before it stays to be read. */
export function resetReputation(deps: ResetDeps): MethodImpl<typeof NodeDirectoryService.method.resetReputation> {
  return async ({ nodeId, reason }, context) => {
    const { userId: actor } = userCallerOf(context);
    validate((check) => {
      check.hash("node_id", nodeId);
      check.text("reason", reason, { min: 1, max: 500 });
    });
    const node = await findNode(deps, nodeId);
    if (node === undefined) throw registryError(Code.NotFound, "NODE_NOT_FOUND", "no node has this node_id");
    const entry = {
      nodeRowId: node.rowId,
      kind: "reset",
      count: 1,
      occurredAt: deps.clock.now(),
      actor,
      reason,
    } as const;
    const { records } = await transact(deps, async (tx) => {
      await addEvidence(tx, [entry]);
      return scoreNodes(deps, tx, [await lockStanding(tx, node.rowId)]);
    });
    for (const record of records) deps.view.put(record);
    const [changed = node] = records;
    return { node: toProtoNode(changed) };
  };
}
