import { Metadata } from "@grpc/grpc-js";
import { toStatusDetails } from "#platform/rpc/details.ts";
import type { RpcError } from "#platform/rpc/errors.ts";

/** An error as grpc-js sends it. It is thrown and caught inside the adapter only, so it carries no stack. */
export class GrpcStatus {
  readonly code: number;
  readonly details: string;
  readonly metadata: Metadata;

  constructor(code: number, details: string, metadata: Metadata = new Metadata()) {
    this.code = code;
    this.details = details;
    this.metadata = metadata;
  }
}

export function toGrpcStatus(error: RpcError): GrpcStatus {
  const metadata = new Metadata();
  const details = toStatusDetails(error);
  if (details !== undefined) metadata.set("grpc-status-details-bin", Buffer.from(details));
  return new GrpcStatus(error.code, error.message, metadata);
}

/** The headers of an answer without a message. */
export function statusHeaders({ code, details, metadata }: GrpcStatus) {
  return {
    ":status": 200,
    "content-type": "application/grpc+proto",
    "grpc-status": String(code),
    "grpc-message": encodeURI(details.toWellFormed()),
    ...metadata.toHttp2Headers(),
  };
}
