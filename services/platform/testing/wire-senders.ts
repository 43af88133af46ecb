import { once } from "node:events";
import { type Agent, request as requestHttp1 } from "node:http";
import type { ClientHttp2Session, ClientHttp2Stream, ClientSessionRequestOptions } from "node:http2";
import { buffer } from "node:stream/consumers";
import type { WireAnswer } from "./wire-protocols.ts";

export interface WireRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** Resolves when the server has read what was sent so far, as far as anybody can tell. */
  readonly settle: () => Promise<unknown>;
  readonly signal: AbortSignal;
}

/** One way in which the end of a request comes. */
export interface WireSender<Connection> {
  readonly name: string;
  readonly send: (connection: Connection, request: WireRequest) => Promise<WireAnswer>;
  /** Where it can only be said of a request without a body. */
  readonly isForEmpty?: true;
}

export interface Http1Connection {
  readonly url: string;
  readonly agent: Agent;
}

type Http1Request = ReturnType<typeof requestHttp1>;

function http1(
  name: string,
  write: (request: Http1Request, wire: WireRequest) => void | Promise<void>,
  headersOf: (body: Buffer) => Record<string, string | number> = (body) => ({ "content-length": body.byteLength }),
): WireSender<Http1Connection> {
  return {
    name,
    send: async ({ url, agent }, wire) => {
      const headers = { ...wire.headers, ...headersOf(wire.body) };
      const request = requestHttp1(url + wire.path, { method: "POST", agent, headers, signal: wire.signal });
      const answered = once(request, "response");
      await Promise.all([write(request, wire), answered]);
      const [response] = await answered;
      const body = await buffer(response);
      return { status: response.statusCode, body, grpcStatus: response.trailers["grpc-status"] };
    },
  };
}

const chunked = () => ({ "transfer-encoding": "chunked" });

export const http1Senders: readonly WireSender<Http1Connection>[] = [
  http1("with its length", (request, { body }) => void request.end(body)),
  http1("with its length, later", async (request, { body, settle }) => {
    request.flushHeaders();
    await settle();
    request.end(body);
  }),
  http1(
    "in chunks",
    (request, { body }) => {
      request.write(body);
      request.end();
    },
    chunked,
  ),
  http1(
    "in chunks, the last one later",
    async (request, { body, settle }) => {
      request.flushHeaders();
      request.write(body);
      await settle();
      request.end();
    },
    chunked,
  ),
  http1(
    "in chunks, with trailers",
    (request, { body }) => {
      request.write(body);
      request.addTrailers({ "x-after": "1" });
      request.end();
    },
    () => ({ ...chunked(), trailer: "x-after" }),
  ),
  http1(
    "when the server tells it to continue",
    async (request, { body }) => {
      request.flushHeaders();
      await once(request, "continue");
      request.end(body);
    },
    (body) => ({ "content-length": body.byteLength, expect: "100-continue" }),
  ),
];

function http2(
  name: string,
  write: (stream: ClientHttp2Stream, wire: WireRequest) => void | Promise<void>,
  options: ClientSessionRequestOptions = {},
): WireSender<ClientHttp2Session> {
  return {
    name,
    send: async (session, wire) => {
      const headers = { ":method": "POST", ":path": wire.path, ...wire.headers };
      const stream = session.request(headers, { ...options, signal: wire.signal });
      let grpcStatus: string | undefined;
      stream.on("trailers", (trailers) => (grpcStatus = String(trailers["grpc-status"])));
      const answered = once(stream, "response");
      await Promise.all([write(stream, wire), answered]);
      const [head] = await answered;
      const body = await buffer(stream);
      return { status: head[":status"], body, grpcStatus: grpcStatus ?? head["grpc-status"] };
    },
  };
}

const sendTrailers = (stream: ClientHttp2Stream) =>
  stream.once("wantTrailers", () => stream.sendTrailers({ "x-after": "1" }));

export const http2Senders: readonly WireSender<ClientHttp2Session>[] = [
  { ...http2("in its head", () => {}, { endStream: true }), isForEmpty: true },
  http2("with its last bytes", (stream, { body }) => void stream.end(body)),
  http2("with its last bytes, later", async (stream, { body, settle }) => {
    await settle();
    stream.end(body);
  }),
  http2("in an empty frame", async (stream, { body, settle }) => {
    stream.write(body);
    await settle();
    stream.end();
  }),
  http2(
    "in trailers",
    (stream, { body }) => {
      sendTrailers(stream).end(body);
    },
    { waitForTrailers: true },
  ),
  http2(
    "in trailers, later",
    async (stream, { body, settle }) => {
      sendTrailers(stream).write(body);
      await settle();
      stream.end();
    },
    { waitForTrailers: true },
  ),
];
