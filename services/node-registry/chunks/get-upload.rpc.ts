import { Code, type MethodImpl } from "@connectrpc/connect";
import type { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { registryError } from "../errors.ts";
import { readUploadChunks } from "./references.store.ts";
import { readOneSnapshot } from "./snapshot.store.ts";
import { toProtoUpload } from "./upload-message.ts";
import { findUpload, isPlaced } from "./uploads.store.ts";

export function getUpload(deps: Pick<Deps, "pool">): MethodImpl<typeof ChunkService.method.getUpload> {
  return async ({ uploadId }) => {
    validate((check) => check.uuid("upload_id", uploadId));
    const found = await deps.pool.transaction(async (tx) => {
      await readOneSnapshot(tx);
      const upload = await findUpload(tx, uploadId);
      return upload === undefined ? undefined : { upload, chunks: await readUploadChunks(tx, uploadId) };
    });
    if (found === undefined || !isPlaced(found.upload)) throw uploadNotFound();
    return { upload: toProtoUpload(found.upload, found.chunks) };
  };
}

export function uploadNotFound(message = "no upload has this upload_id") {
  return registryError(Code.NotFound, "UPLOAD_NOT_FOUND", message);
}
