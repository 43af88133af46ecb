import { Code } from "@connectrpc/connect";
import type { RpcError } from "#platform/rpc/errors.ts";
import { registryError } from "../errors.ts";
import type { PlaceRefusal } from "./place-upload.store.ts";
import type { UploadContent } from "./upload-content.ts";

export function refusalError(refusal: PlaceRefusal, content: UploadContent): RpcError {
  switch (refusal.reason) {
    case "owned_by_another":
      return registryError(
        Code.AlreadyExists,
        "CHUNK_OWNED_BY_ANOTHER_USER",
        "a living chunk with this hash belongs to another user",
        { metadata: { chunk_hash: refusal.chunkHash } },
      );
    case "chunk_mismatch":
      return registryError(
        Code.AlreadyExists,
        "CHUNK_MISMATCH",
        "the user has a living chunk with this hash but another size or proof root",
        { metadata: { chunk_hash: refusal.chunkHash } },
      );
    case "not_enough_nodes":
      return notEnoughNodes(content.replicas);
    case "user_deleted":
      return registryError(Code.FailedPrecondition, "ACCOUNT_CLOSED", "the user was deleted");
  }
}

export function notEnoughNodes(replicas: number): RpcError {
  return registryError(
    Code.FailedPrecondition,
    "NOT_ENOUGH_NODES",
    "fewer nodes are eligible than replicas are wanted",
    {
      metadata: { wanted_replicas: String(replicas) },
    },
  );
}
