import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { malformedRequest } from "#platform/rpc/errors.ts";

/**
 * Decodes inside of the adapter and not in grpc-js, which would answer INTERNAL for bytes that are no such message.
 * The cause goes to nobody: it says the same with the stranger's bytes in it.
 */
export function decode<D extends DescMessage>(schema: D, bytes: Uint8Array): MessageShape<D> {
  try {
    return fromBinary(schema, bytes);
  } catch {
    throw malformedRequest(schema.typeName);
  }
}

export function encode<D extends DescMessage>(schema: D, init: MessageInitShape<D>): Uint8Array {
  return toBinary(schema, create(schema, init));
}

export const passBytes = (bytes: Buffer): Uint8Array => bytes;

/** Without a copy. */
export const toBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
