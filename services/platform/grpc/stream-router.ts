import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from "node:http2";

const STREAM_CREATED = "http2.server.stream.created";

export interface StreamRoute {
  /** Whether the stream came to the server that is meant; other HTTP/2 servers of the process are left alone. */
  readonly isOurs: (stream: ServerHttp2Stream) => boolean;
  /** True where it takes the call; grpc-js gets it otherwise. */
  readonly take: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => boolean;
}

/**
 * Looks at every call before grpc-js does. grpc-js gives no access to its HTTP/2 server, so the first stream that Node's
 * diagnostics channel tells of leads there: a stream is told of before it is handed to the server's listeners.
 */
export function routeStreams({ isOurs, take }: StreamRoute): Disposable {
  const onCreated = (event: unknown) => {
    if (!isCreation(event) || !isOurs(event.stream)) return;
    const { session } = event.stream;
    if (session === undefined || !isServerSession(session)) return;
    unsubscribe(STREAM_CREATED, onCreated);
    const { server } = session;
    const listeners = server.listeners("stream");
    server.removeAllListeners("stream");
    server.on("stream", (stream, headers, ...rest) => {
      if (take(stream, headers)) return;
      for (const listener of listeners) listener.call(server, stream, headers, ...rest);
    });
  };
  subscribe(STREAM_CREATED, onCreated);
  return { [Symbol.dispose]: () => void unsubscribe(STREAM_CREATED, onCreated) };
}

function isServerSession(session: object): session is ServerHttp2Session {
  return "server" in session;
}

function isCreation(event: unknown): event is { readonly stream: ServerHttp2Stream } {
  return typeof event === "object" && event !== null && "stream" in event;
}
