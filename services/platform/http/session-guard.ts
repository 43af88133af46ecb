import type { Http2Server, ServerHttp2Session } from "node:http2";

export interface SessionGuardOptions {
  /** A session without any frame for this long is pinged. */
  readonly idleMs: number;
  /** A peer that does not answer a ping for this long is gone: its connection is half open. */
  readonly pingTimeoutMs: number;
  /** A session without any stream for this long is asked to leave. */
  readonly unusedMs: number;
}

/** Finds dead and unused HTTP/2 sessions, which Node keeps forever. Gives the sessions that are open. */
export function guardSessions(server: Http2Server, options: SessionGuardOptions): ReadonlySet<ServerHttp2Session> {
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    let openStreams = 0;
    let unusedSinceMs = performance.now();
    session.once("close", () => sessions.delete(session));
    session.on("stream", (stream) => {
      openStreams++;
      stream.once("close", () => {
        openStreams--;
        unusedSinceMs = performance.now();
      });
    });
    session.setTimeout(options.idleMs);
    session.on("timeout", () => {
      // Fires once; neither a ping nor its answer counts as activity that would start it again.
      if (!session.destroyed) session.setTimeout(options.idleMs);
      if (openStreams === 0 && performance.now() - unusedSinceMs >= options.unusedMs) session.close();
      else pingOrDestroy(session, options.pingTimeoutMs);
    });
  });
  return sessions;
}

function pingOrDestroy(session: ServerHttp2Session, pingTimeoutMs: number): void {
  if (session.destroyed || session.closed) return;
  const timer = setTimeout(() => session.destroy(), pingTimeoutMs);
  const isSent = session.ping((error) => {
    clearTimeout(timer);
    if (error !== null && !session.destroyed) session.destroy();
  });
  if (!isSent) clearTimeout(timer);
}
