import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  QuotaFailureSchema,
  RetryInfoSchema,
} from "#gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "#gen/google/rpc/status_pb.ts";
import type { RpcError } from "./errors.ts";
import { toDuration } from "./time.ts";

const ERROR_DOMAIN = "decentrastore";

/** The error with its google.rpc details as Connect sends it: in the JSON body, or in grpc-status-details-bin. */
export function toConnectError(error: RpcError): ConnectError {
  const details: ConstructorParameters<typeof ConnectError>[3] = detailsOf(error).map(({ desc, message }) => ({
    desc,
    value: message,
  }));
  return new ConnectError(error.message, error.code, undefined, details, error);
}

/** The value of the trailer grpc-status-details-bin; undefined where there is nothing to add to code and message. */
export function toStatusDetails(error: RpcError): Uint8Array | undefined {
  const details = detailsOf(error);
  if (details.length === 0) return undefined;
  const packed = details.map(({ desc, message }) => anyPack(desc, message));
  return toBinary(StatusSchema, create(StatusSchema, { code: error.code, message: error.message, details: packed }));
}

function detailsOf(error: RpcError) {
  return [...infoOf(error), ...badRequestOf(error), ...retryOf(error), ...quotaOf(error)];
}

function infoOf(error: RpcError) {
  if (error.reason === undefined) return [];
  const init = { reason: error.reason, domain: ERROR_DOMAIN, metadata: { ...error.metadata } };
  return [{ desc: ErrorInfoSchema, message: create(ErrorInfoSchema, init) }];
}

function badRequestOf(error: RpcError) {
  if (error.violations.length === 0) return [];
  const fieldViolations = error.violations.map(({ field, rule }) => ({ field, description: rule }));
  return [{ desc: BadRequestSchema, message: create(BadRequestSchema, { fieldViolations }) }];
}

function retryOf(error: RpcError) {
  if (error.retryAfterMs === undefined) return [];
  return [{ desc: RetryInfoSchema, message: create(RetryInfoSchema, { retryDelay: toDuration(error.retryAfterMs) }) }];
}

function quotaOf(error: RpcError) {
  if (error.quotaViolations.length === 0) return [];
  const violations = error.quotaViolations.map(({ subject, description }) => ({ subject, description }));
  return [{ desc: QuotaFailureSchema, message: create(QuotaFailureSchema, { violations }) }];
}
