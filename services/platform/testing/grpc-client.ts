import {
  create,
  type DescMessage,
  type DescMethodBiDiStreaming,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  Client,
  type ClientDuplexStream,
  type ClientOptions,
  credentials,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "#gen/google/rpc/status_pb.ts";
import type { TestCertificate } from "./test-ca.ts";

/** A grpc-js client over mutual TLS, as a storage node has one. */
export interface TestGrpcClient extends Disposable {
  readonly client: Client;
  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options?: { deadlineMs?: number; metadata?: Record<string, string>; signal?: AbortSignal },
  ): Promise<MessageShape<O>>;
  raw(path: string, bytes: Uint8Array): Promise<Uint8Array>;
  bidi<I extends DescMessage, O extends DescMessage>(
    method: DescMethodBiDiStreaming<I, O>,
  ): ClientDuplexStream<MessageInitShape<I>, MessageShape<O>>;
}

export function createTestGrpcClient(
  address: string,
  tls: { ca: string; node?: TestCertificate },
  options: ClientOptions = {},
): TestGrpcClient {
  const channel = credentials.createSsl(
    Buffer.from(tls.ca),
    tls.node === undefined ? null : Buffer.from(tls.node.privateKey),
    tls.node === undefined ? null : Buffer.from(tls.node.certificate),
  );
  // Node refuses an IP address as TLS server name, which grpc-js would send for 127.0.0.1.
  const name = { "grpc.ssl_target_name_override": "localhost", "grpc.default_authority": "localhost" };
  // An own subchannel pool, or clients with the same credentials would share a connection.
  const client = new Client(address, channel, { "grpc.use_local_subchannel_pool": 1, ...name, ...options });
  return {
    client,
    unary: (method, request, { deadlineMs, metadata, signal } = {}) =>
      new Promise((resolve, reject) => {
        const headers = new Metadata();
        for (const [key, value] of Object.entries(metadata ?? {})) headers.set(key, value);
        const call = client.makeUnaryRequest(
          `/${method.parent.typeName}/${method.name}`,
          (message: typeof request) => Buffer.from(toBinary(method.input, create(method.input, message))),
          (bytes) => fromBinary(method.output, bytes),
          request,
          headers,
          deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs },
          (error, response) => (error === null && response !== undefined ? resolve(response) : reject(error)),
        );
        signal?.addEventListener("abort", () => call.cancel(), { once: true });
      }),
    raw: (path, bytes) =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          path,
          (message: Uint8Array) => Buffer.from(message),
          (answer) => answer,
          bytes,
          (error, response) => (error === null && response !== undefined ? resolve(response) : reject(error)),
        );
      }),
    bidi: (method) =>
      client.makeBidiStreamRequest(
        `/${method.parent.typeName}/${method.name}`,
        (message: MessageInitShape<typeof method.input>) =>
          Buffer.from(toBinary(method.input, create(method.input, message))),
        (bytes) => fromBinary(method.output, bytes),
      ),
    [Symbol.dispose]: () => client.close(),
  };
}

/** The google.rpc details of a failed call, by type name. */
export function detailsOf(error: ServiceError): Map<string, Uint8Array> {
  const [value] = error.metadata.get("grpc-status-details-bin");
  if (value === undefined || typeof value === "string") return new Map();
  const { details } = fromBinary(StatusSchema, value);
  return new Map(details.map((any) => [any.typeUrl.replace("type.googleapis.com/", ""), any.value]));
}

export function reasonOf(error: ServiceError): string | undefined {
  const info = detailsOf(error).get(ErrorInfoSchema.typeName);
  return info === undefined ? undefined : fromBinary(ErrorInfoSchema, info).reason;
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "metadata" in error && "code" in error && "details" in error;
}

/** The error of a call that must fail. */
export async function failureOf(call: Promise<unknown>): Promise<ServiceError> {
  try {
    await call;
  } catch (error) {
    if (isServiceError(error)) return error;
    throw error;
  }
  throw new Error("the call did not fail");
}
