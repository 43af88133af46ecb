import { brotliCompressSync, gzipSync } from "node:zlib";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { StringValueSchema } from "@bufbuild/protobuf/wkt";

/** What came back, whatever carried it. */
export interface WireAnswer {
  readonly status: number | undefined;
  readonly body: Buffer;
  /** In its trailers, or in the headers of an answer that is nothing else. */
  readonly grpcStatus: string | undefined;
}

/** How one kind of client writes a string for `TestProtocol`, and reads the answer. */
export interface WireProtocol {
  readonly name: string;
  readonly method: "Unary" | "ServerStream" | "ClientStream" | "Bidi";
  readonly headers: Readonly<Record<string, string>>;
  readonly encode: (value: string) => Buffer;
  /** The string of a good answer; throws for any other. */
  readonly decode: (answer: WireAnswer) => string;
}

const bytesOf = (value: string) => Buffer.from(toBinary(StringValueSchema, create(StringValueSchema, { value })));
const stringOf = (bytes: Uint8Array) => fromBinary(StringValueSchema, bytes).value;

/** Five bytes of flags and length stand before each message of a stream. */
function envelope(message: Uint8Array, flags = 0): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags);
  head.writeUInt32BE(message.byteLength, 1);
  return Buffer.concat([head, message]);
}

function openEnvelopes(body: Buffer): { readonly flags: number; readonly data: Buffer }[] {
  const all = [];
  for (let at = 0; at < body.byteLength; ) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    all.push({ flags: body.readUInt8(at), data: body.subarray(at + 5, end) });
    at = end;
  }
  return all;
}

/** The one message of an answer whose end is told by an envelope with these flags, or by its trailers. */
function onlyMessage(answer: WireAnswer, end: { readonly flags: number; readonly text: RegExp } | undefined): string {
  const envelopes = openEnvelopes(answer.body);
  const last = end === undefined ? undefined : envelopes.pop();
  const [message, ...more] = envelopes;
  const isEnded = end === undefined ? answer.grpcStatus === "0" : last?.flags === end.flags;
  const isGood = end === undefined || end.text.test(last?.data.toString() ?? "");
  if (answer.status !== 200 || message?.flags !== 0 || more.length > 0 || !isEnded || !isGood) throw refused(answer);
  return stringOf(message.data);
}

function refused({ status, grpcStatus, body }: WireAnswer): Error {
  return new Error(`status ${status}, grpc-status ${grpcStatus}: ${body.toString("latin1").slice(0, 200)}`);
}

function onlyBody(answer: WireAnswer): Buffer {
  if (answer.status !== 200) throw refused(answer);
  return answer.body;
}

const connectUnary = { method: "Unary", decode: (answer: WireAnswer) => stringOf(onlyBody(answer)) } as const;
const proto = { "content-type": "application/proto" };

const connect: readonly WireProtocol[] = [
  { ...connectUnary, name: "Connect", headers: proto, encode: bytesOf },
  {
    ...connectUnary,
    name: "Connect, gzip",
    headers: { ...proto, "content-encoding": "gzip", "accept-encoding": "identity" },
    encode: (value) => gzipSync(bytesOf(value)),
  },
  {
    ...connectUnary,
    name: "Connect, brotli",
    headers: { ...proto, "content-encoding": "br", "accept-encoding": "identity" },
    encode: (value) => brotliCompressSync(bytesOf(value)),
  },
  {
    name: "Connect, JSON",
    method: "Unary",
    headers: { "content-type": "application/json" },
    encode: (value) => Buffer.from(JSON.stringify(value)),
    decode: (answer) => JSON.parse(onlyBody(answer).toString()),
  },
];

const connectStream = {
  headers: { "content-type": "application/connect+proto" },
  encode: (value: string) => envelope(bytesOf(value)),
  decode: (answer: WireAnswer) => onlyMessage(answer, { flags: 2, text: /^\{\}$/ }),
};

const plainGrpc = { encode: (value: string) => envelope(bytesOf(value)) };
const gzippedGrpc = { encode: (value: string) => envelope(gzipSync(bytesOf(value)), 1) };
const trailed = { decode: (answer: WireAnswer) => onlyMessage(answer, undefined) };
const grpcHeaders = { "content-type": "application/grpc", te: "trailers" };
const gzipHeaders = { ...grpcHeaders, "grpc-encoding": "gzip", "grpc-accept-encoding": "identity" };

export const grpcProtocols: readonly WireProtocol[] = [
  { ...plainGrpc, ...trailed, name: "gRPC", method: "Unary", headers: grpcHeaders },
  { ...gzippedGrpc, ...trailed, name: "gRPC, gzip", method: "Unary", headers: gzipHeaders },
  { ...plainGrpc, ...trailed, name: "gRPC, a stream of answers", method: "ServerStream", headers: grpcHeaders },
  { ...gzippedGrpc, ...trailed, name: "gRPC, gzip, a stream", method: "ServerStream", headers: gzipHeaders },
];

const web = {
  ...plainGrpc,
  headers: { "content-type": "application/grpc-web+proto" },
  decode: (answer: WireAnswer) => onlyMessage(answer, { flags: 0x80, text: /^grpc-status: ?0\r\n/m }),
};

/** Those that need no trailers, and are spoken over HTTP/1.1 too. */
export const webProtocols: readonly WireProtocol[] = [
  ...connect,
  { ...connectStream, name: "Connect, a stream of answers", method: "ServerStream" },
  { ...web, name: "gRPC-Web", method: "Unary" },
  { ...web, name: "gRPC-Web, a stream of answers", method: "ServerStream" },
];

const requestStream: WireProtocol = { ...connectStream, name: "Connect, a stream of requests", method: "ClientStream" };

/** Where the request is a stream, of which the client sends one message. */
export const requestStreams = {
  web: [requestStream],
  http2: [requestStream, { ...connectStream, name: "Connect, streams both ways", method: "Bidi" }],
  grpc: [
    { ...plainGrpc, ...trailed, name: "gRPC, a stream of requests", method: "ClientStream", headers: grpcHeaders },
    { ...gzippedGrpc, ...trailed, name: "gRPC, gzip, streams both ways", method: "Bidi", headers: gzipHeaders },
    { ...plainGrpc, ...trailed, name: "gRPC, streams both ways", method: "Bidi", headers: grpcHeaders },
  ],
} satisfies Record<string, readonly WireProtocol[]>;
