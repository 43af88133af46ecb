import type { MessageInitShape } from "@bufbuild/protobuf";
import { type UploadSchema, UploadState } from "#gen/decentrastore/node_registry/v1/upload_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { UploadChunkRow } from "./references.store.ts";
import type { UploadRow } from "./uploads.store.ts";

// The first two do not exist for clients.
const STATES: Record<UploadRow["state"], UploadState> = {
  reserving: UploadState.UNSPECIFIED,
  failed: UploadState.UNSPECIFIED,
  open: UploadState.OPEN,
  completed: UploadState.COMPLETED,
  expired: UploadState.EXPIRED,
};

export function toProtoUpload(
  upload: UploadRow,
  chunks: readonly UploadChunkRow[],
): MessageInitShape<typeof UploadSchema> {
  const { expires_at: expiresAt, ended_at: endedAt } = upload;
  return {
    uploadId: upload.upload_id,
    userId: upload.user_id,
    state: STATES[upload.state],
    reservationId: upload.reservation_id ?? "",
    replicas: upload.replicas,
    chunks: chunks.map((chunk) => ({
      chunkHash: chunk.chunk_hash,
      sizeBytes: chunk.size_bytes,
      blockIndex: chunk.block_index,
      generation: chunk.generation,
      assignedReplicas: Number(chunk.assigned_replicas),
      confirmedReplicas: chunk.confirmed_replicas,
      hasQuorum: chunk.has_quorum,
    })),
    quorumChunkCount: BigInt(chunks.filter((chunk) => chunk.has_quorum).length),
    chargedChunks: upload.charged_chunks,
    chargedBytes: upload.charged_bytes,
    createdAt: toTimestamp(upload.placed_at ?? upload.created_at),
    ...(expiresAt === null ? {} : { expiresAt: toTimestamp(expiresAt) }),
    ...(upload.state !== "completed" || endedAt === null ? {} : { completedAt: toTimestamp(endedAt) }),
  };
}
