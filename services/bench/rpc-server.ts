import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type StringValue, StringValueSchema } from "@bufbuild/protobuf/wkt";
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { certificateIdentity, type EdgeCertificates, startNodeEdge } from "#platform/grpc/node-edge.ts";
import { toGrpcStatus } from "#platform/grpc/status.ts";
import { startHttpServer } from "#platform/http/http-server.ts";
import { createLogger } from "#platform/log/logger.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { toConnectError } from "#platform/rpc/details.ts";
import { createInFlight } from "#platform/rpc/in-flight.ts";
import { createPolicy, type PolicyOptions } from "#platform/rpc/policy.ts";
import { implement } from "#platform/rpc/service.ts";
import { systemClock } from "#platform/time/clock.ts";
import { TestProtocol } from "../platform/testing/test-protocol.ts";

// The same echo three times: bare grpc-js over mutual TLS with the protobuf codec, the node edge with everything that
// stands around a handler, and the main port. The parent sends the certificates.

process.once("message", async (certificates: EdgeCertificates) => {
  const [bare, edge, main] = await Promise.all([startBare(certificates), startEdge(certificates), startMain()]);
  process.send?.({ type: "ready", bare, edge, main });
});
process.once("disconnect", () => process.exit());

const echo = implement(
  TestProtocol,
  {
    unary: (request) => request,
    serverStream: async function* (request) {
      yield request;
    },
    clientStream: async () => ({}),
    bidi: async function* (requests) {
      yield* requests;
    },
  },
  { highRate: ["unary", "bidi"] },
);

const shared = {
  log: createLogger("bench", "warn"),
  metrics: createMetrics("bench"),
  clock: systemClock,
  inFlight: createInFlight(),
  stopping: new AbortController().signal,
} satisfies Partial<PolicyOptions>;

async function startEdge(certificates: EdgeCertificates): Promise<number> {
  const policy = createPolicy({ ...shared, identify: certificateIdentity(), toTransportError: toGrpcStatus });
  const limits = { maxConcurrentStreams: 10_000, maxConnectionsPerNode: 20_000 };
  const edge = await startNodeEdge({
    host: "127.0.0.1",
    port: 0,
    services: [policy(echo)],
    certificates,
    limits,
    ...shared,
  });
  return edge.port;
}

async function startMain(): Promise<number> {
  const identify = () => ({ kind: "anonymous" }) as const;
  const policy = createPolicy({ ...shared, identify, toTransportError: toConnectError });
  const main = await startHttpServer({ host: "127.0.0.1", port: 0, services: [policy(echo)], log: shared.log });
  return main.port;
}

function startBare({ certificate, privateKey, clientCas }: EdgeCertificates): Promise<number> {
  const server = new Server({ "grpc.enable_channelz": 0, "grpc.max_concurrent_streams": 10_000 });
  const decode = (bytes: Buffer) => fromBinary(StringValueSchema, bytes);
  const encode = (message: StringValue) => Buffer.from(toBinary(StringValueSchema, message));
  const unary = (call: ServerUnaryCall<StringValue, StringValue>, done: sendUnaryData<StringValue>) =>
    done(null, call.request);
  const bidi = (call: ServerDuplexStream<StringValue, StringValue>) => {
    call.on("data", (message: StringValue) => call.write(message));
    call.on("end", () => call.end());
    call.on("error", () => {});
  };
  server.register("/grpc.testing.TestService/Unary", unary, encode, decode, "unary");
  server.register("/grpc.testing.TestService/Bidi", bidi, encode, decode, "bidi");
  const pair = { cert_chain: Buffer.from(certificate), private_key: Buffer.from(privateKey) };
  const credentials = ServerCredentials.createSsl(Buffer.from(clientCas.join("\n")), [pair], true);
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, port) => (error === null ? resolve(port) : reject(error)));
  });
}
