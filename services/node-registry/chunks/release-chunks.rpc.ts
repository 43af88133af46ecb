import type { MethodImpl } from "@connectrpc/connect";
import type { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { checkHashes } from "./check-hashes.ts";
import { lockChunks } from "./chunks.store.ts";
import { uploadNotFound } from "./get-upload.rpc.ts";
import { sortedHashes } from "./hashes.ts";
import { readUploadChunks } from "./references.store.ts";
import { releaseFromUpload } from "./release-from-upload.worker.ts";
import { toProtoUpload } from "./upload-message.ts";
import { findUpload, isPlaced } from "./uploads.store.ts";

export function releaseChunks(
  deps: Pick<Deps, "pool" | "outbox" | "clock">,
): MethodImpl<typeof ChunkService.method.releaseChunks> {
  return async ({ userId, uploadId, chunkHashes }) => {
    validate((check) => {
      check.uuid("user_id", userId);
      check.uuid("upload_id", uploadId);
      checkHashes(check, chunkHashes, { max: 1_000 });
    });
    const released = await transact(deps, async (tx) => {
      const upload = await findUpload(tx, uploadId);
      if (upload === undefined || upload.user_id !== userId.toLowerCase() || !isPlaced(upload)) return undefined;
      const locked = await lockChunks(tx, sortedHashes(chunkHashes));
      const ended = await releaseFromUpload(deps, tx, upload.upload_id, locked, "released");
      const after = await findUpload(tx, uploadId);
      return after && { upload: after, ended, chunks: await readUploadChunks(tx, uploadId) };
    });
    if (released === undefined) throw uploadNotFound("no upload of this user has this upload_id");
    const ended = new Set(released.ended.map((chunk) => chunk.chunkHash));
    return {
      upload: toProtoUpload(released.upload, released.chunks),
      releasedChunkHashes: [...new Set(chunkHashes)].filter((hash) => ended.has(hash)),
    };
  };
}
