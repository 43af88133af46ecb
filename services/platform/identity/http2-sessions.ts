import type { Http2Session } from "node:http2";
import { Http2SessionManager } from "@connectrpc/connect-node";

type SessionOptions = ConstructorParameters<typeof Http2SessionManager>;

type Sessions = Pick<Http2SessionManager, "authority" | "request" | "notifyResponseByteRead">;

export interface Http2Sessions extends Sessions, Disposable {}

/**
 * Connections of a client whose death ends calls and never the process. Connect's manager gives up its listener with a
 * session that it replaces, and a session that was destroyed for a silent peer ("PING timed out"), or was closed for
 * being idle, may emit its error only after that: a call in that moment would leave the error to nobody, and an error
 * that nobody hears ends the process. The calls of such a session fail by their own streams.
 */
export function openHttp2Sessions(...[url, pingOptions, sessionOptions]: SessionOptions): Http2Sessions {
  const manager = new Http2SessionManager(url, pingOptions, sessionOptions);
  const heard = new WeakSet<Http2Session>();
  return {
    authority: manager.authority,
    notifyResponseByteRead: (stream) => manager.notifyResponseByteRead(stream),
    request: async (...request) => {
      const stream = await manager.request(...request);
      const { session } = stream;
      if (session !== undefined && !heard.has(session)) {
        heard.add(session);
        session.on("error", () => {}); // told to the calls
      }
      return stream;
    },
    [Symbol.dispose]: () => manager.abort(),
  };
}
