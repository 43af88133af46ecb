import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";

/** Connects as a storage node does. */
export interface LoadTarget {
  readonly address: string;
  readonly ca: string;
  readonly certificate: string;
  readonly privateKey: string;
}

export interface StreamLoad {
  readonly path: string;
  /** The next message of a connection, without the gRPC prefix. */
  message(connection: number, sequence: number): Uint8Array;
  /** Messages under way per stream. */
  readonly window: number;
}

export interface LoadResult {
  readonly answers: number;
  readonly ms: number;
}

export async function openSessions(targets: readonly LoadTarget[]): Promise<ClientHttp2Session[]> {
  return Promise.all(
    targets.map(async ({ address, ca, certificate, privateKey }) => {
      // The echo and etcd serve with a certificate that is meant for clients.
      const options = { ca, cert: certificate, key: privateKey, servername: "localhost", rejectUnauthorized: false };
      const session = connect(`https://${address}`, options);
      session.on("error", () => {});
      await once(session, "connect");
      return session;
    }),
  );
}

function open(session: ClientHttp2Session, path: string): ClientHttp2Stream {
  return session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
  });
}

/**
 * One stream per session, each with a window of messages under way: as fast as the server answers. Works on bytes only,
 * so that the generator costs less than what it measures. The server's speed after `warmMs` is what counts.
 */
export async function loadStreams(
  sessions: readonly ClientHttp2Session[],
  load: StreamLoad,
  times: { readonly warmMs: number; readonly runMs: number },
): Promise<LoadResult> {
  let answers = 0;
  let failure: Error | undefined;
  const streams = sessions.map((session, connection) => {
    const stream = open(session, load.path);
    let sequence = 0;
    const send = (count: number) => {
      const frames = Array.from({ length: count }, () => {
        sequence += 1;
        return frameOf(load.message(connection, sequence));
      });
      stream.write(Buffer.concat(frames));
    };
    const counter = createFrameCounter();
    stream.on("data", (chunk: Buffer) => {
      const count = counter.count(chunk);
      answers += count;
      if (count > 0) send(count);
    });
    stream.on("trailers", (trailers) => {
      const status = trailers["grpc-status"];
      if (status !== "0") failure = new Error(`the stream ended: ${status} ${String(trailers["grpc-message"])}`);
    });
    stream.on("error", (error: Error) => {
      failure ??= error;
    });
    send(load.window);
    return stream;
  });
  await pause(times.warmMs);
  const before = answers;
  const startedAt = performance.now();
  await pause(times.runMs);
  const result = { answers: answers - before, ms: performance.now() - startedAt };
  for (const stream of streams) stream.close();
  if (failure !== undefined) throw failure;
  return result;
}

/** `parallel` unary calls at a time on each session. */
export async function loadUnary(
  sessions: readonly ClientHttp2Session[],
  load: Omit<StreamLoad, "window"> & { readonly parallel: number },
  times: { readonly warmMs: number; readonly runMs: number },
): Promise<LoadResult> {
  const state = { answers: 0, isOver: false, failures: 0 };
  const loops = sessions.flatMap((session, connection) =>
    Array.from({ length: load.parallel }, async (_, lane) => {
      for (let sequence = 1; !state.isOver; sequence += 1) {
        const stream = open(session, load.path);
        stream.end(frameOf(load.message(connection, sequence * load.parallel + lane)));
        stream.resume();
        const [trailers] = await once(stream, "trailers");
        if (trailers["grpc-status"] === "0") state.answers += 1;
        else state.failures += 1;
      }
    }),
  );
  await pause(times.warmMs);
  const before = state.answers;
  const startedAt = performance.now();
  await pause(times.runMs);
  const result = { answers: state.answers - before, ms: performance.now() - startedAt };
  state.isOver = true;
  await Promise.all(loops);
  if (state.failures > 0) throw new Error(`${state.failures} calls failed`);
  return result;
}

export function frameOf(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(5 + message.length);
  frame.writeUInt8(0, 0);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, 5);
  return frame;
}

/** Counts gRPC messages in chunks that end anywhere. */
function createFrameCounter(): { count(chunk: Buffer): number } {
  let rest: Uint8Array = Buffer.alloc(0);
  return {
    count: (chunk) => {
      const data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      let at = 0;
      let count = 0;
      while (data.length - at >= 5) {
        const end = at + 5 + data.readUInt32BE(at + 1);
        if (end > data.length) break;
        at = end;
        count += 1;
      }
      rest = data.subarray(at);
      return count;
    },
  };
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
