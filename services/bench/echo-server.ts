import { readFileSync } from "node:fs";
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
} from "@grpc/grpc-js";

// A bare grpc-js server with mutual TLS that sends back what it gets: what everything that the registry does is measured
// against. Started with the files of CA, certificate and key.

const [ca = "", certificate = "", key = ""] = process.argv.slice(2);
const server = new Server({ "grpc.enable_channelz": 0 });
const codec = {
  requestSerialize: (value: Buffer) => value,
  requestDeserialize: (value: Buffer) => value,
  responseSerialize: (value: Buffer) => value,
  responseDeserialize: (value: Buffer) => value,
};
server.addService(
  {
    stream: { path: "/bench.Echo/Stream", requestStream: true, responseStream: true, ...codec },
    unary: { path: "/bench.Echo/Unary", requestStream: false, responseStream: false, ...codec },
  },
  {
    stream: (call: ServerDuplexStream<Buffer, Buffer>) => {
      call.on("data", (message: Buffer) => call.write(message));
      call.on("end", () => call.end());
      call.on("error", () => {});
    },
    unary: (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => done(null, call.request),
  },
);
const pair = { cert_chain: readFileSync(certificate), private_key: readFileSync(key) };
server.bindAsync("127.0.0.1:0", ServerCredentials.createSsl(readFileSync(ca), [pair], true), (error, port) => {
  if (error !== null) throw error;
  process.send?.({ type: "ready", port });
});
process.on("disconnect", () => server.forceShutdown());
