import type { Address } from "#gen/decentrastore/node_registry/v1/address_pb.ts";
import { validate } from "#platform/rpc/validate.ts";
import { checkAddress, checkLabel } from "../directory/address.ts";

/** The fields that HeartbeatRequest and StreamHeartbeatsRequest share. */
export interface HeartbeatFields {
  readonly sequence: bigint;
  readonly usedBytes: bigint;
  readonly freeBytes: bigint;
  readonly chunkCount: bigint;
  readonly address?: Address | undefined;
  readonly softwareVersion?: string | undefined;
  readonly chunkDigest?: Uint8Array | undefined;
}

/**
 * 8 PiB less one: bytes stay exact in a double, and no node is larger. It does not hold for free bytes: a file system
 * without a limit gives nearly 2^63 of them, and what is above the node's capacity is clamped, not refused.
 */
const MAX_FIGURE = BigInt(Number.MAX_SAFE_INTEGER);
const DIGEST_BYTES = 8;

/** Throws INVALID_FIELD. The plain case costs a few comparisons: it is the hottest path of the service. */
export function checkHeartbeat(request: HeartbeatFields, allowsPrivate: boolean): void {
  const isPlain =
    request.sequence >= 0n &&
    isFigure(request.usedBytes) &&
    request.freeBytes >= 0n &&
    isFigure(request.chunkCount) &&
    request.address === undefined &&
    request.softwareVersion === undefined &&
    (request.chunkDigest === undefined || request.chunkDigest.length === DIGEST_BYTES);
  if (isPlain) return;
  validate((check) => {
    check.int("sequence", request.sequence, { min: 0n });
    check.int("used_bytes", request.usedBytes, { min: 0n, max: MAX_FIGURE });
    check.int("free_bytes", request.freeBytes, { min: 0n });
    check.int("chunk_count", request.chunkCount, { min: 0n, max: MAX_FIGURE });
    if (request.address !== undefined) checkAddress(check, "address", request.address, allowsPrivate);
    if (request.softwareVersion !== undefined) {
      checkLabel(check, "software_version", request.softwareVersion, { min: 1, max: 64 });
    }
    if (request.chunkDigest !== undefined && request.chunkDigest.length !== DIGEST_BYTES) {
      check.fail("chunk_digest", "must have 8 bytes");
    }
  });
}

function isFigure(value: bigint): boolean {
  return value >= 0n && value <= MAX_FIGURE;
}
