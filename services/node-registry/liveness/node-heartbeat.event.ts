import { create, toBinary } from "@bufbuild/protobuf";
import { NodeHeartbeatSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { sealedHeaders } from "#platform/events/sealed-headers.ts";
import type { Nats } from "#platform/nats/connect.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import { ownTraceparent } from "#platform/rpc/trace.ts";
import type { Clock } from "#platform/time/clock.ts";
import { uuidv7 } from "#platform/time/uuid.ts";
import type { WrittenLease } from "./leases.store.ts";

/**
 * At most once and without the outbox: the next heartbeat says it again. The stream keeps the last one of every node, so
 * a late subscriber finds it there. False where it was dropped because NATS is away.
 */
export function publishHeartbeat(
  deps: { readonly nats: Nats; readonly clock: Clock },
  nodeId: string,
  lease: WrittenLease,
  heartbeatCount: number,
): boolean {
  const payload = toBinary(
    NodeHeartbeatSchema,
    create(NodeHeartbeatSchema, {
      nodeId,
      sequence: lease.sequence,
      usedBytes: lease.used_bytes,
      freeBytes: lease.free_bytes,
      chunkCount: lease.chunk_count,
      receivedAt: toTimestamp(lease.last_beat),
      heartbeatCount,
    }),
  );
  const eventId = uuidv7(deps.clock);
  const headers = sealedHeaders({
    eventId,
    type: NodeHeartbeatSchema.typeName,
    source: "/decentrastore/node-registry",
    key: nodeId,
    // Not from the outbox, so without a position there; the node's own sequence orders them.
    keyVersion: lease.sequence,
    sequence: 0n,
    time: lease.last_beat,
    traceparent: ownTraceparent(eventId),
  });
  return deps.nats.publish(`decentrastore.node.heartbeat.${nodeId}`, payload, headers);
}
