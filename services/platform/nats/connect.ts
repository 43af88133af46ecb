import {
  type ConnectionOptions,
  connect,
  createInbox,
  DebugEvents,
  Events,
  type MsgHdrs,
  type NatsConnection,
} from "nats";
import type { Logger } from "#platform/log/logger.ts";
import { type Clock, systemClock } from "#platform/time/clock.ts";
import type { StreamName, StreamSettings } from "./stream-settings.ts";

/** Bytes published without an answer that may be under way at once; above it `publish` refuses instead of buffering. */
const MAX_UNFLUSHED_BYTES = 32 * 1024 * 1024;

/** The process's one connection to NATS. It reconnects for ever, so nobody has to open another. */
export interface Nats extends AsyncDisposable {
  readonly connection: NatsConnection;
  /** What the operator set about a stream, for whoever makes it. */
  readonly streamSettings: (stream: StreamName) => StreamSettings;
  /** False while the server is away. */
  isConnected(): boolean;
  /** Calls back after every reconnect; the answer ends it. */
  onReconnect(listener: () => void): () => void;
  /** A subject below the connection's private prefix, for answers. */
  newInbox(): string;
  /**
   * Publishes without an answer: at most once. False when it was dropped, because the server is away or does not keep up:
   * what is only interesting when fresh must never fill the memory.
   */
  publish(subject: string, payload: Uint8Array, headers?: MsgHdrs): boolean;
}

export interface NatsOptions {
  /** Several servers of one cluster are separated by commas; user and password are taken from the first. */
  url: string;
  /** How the connection is called in the server's monitoring. */
  name: string;
  log: Logger;
  /**
   * Where answers arrive. Without it `_INBOX_<user>`: private, because a read-only subscriber may listen on `_INBOX.>`
   * and would otherwise see what the services are answered.
   */
  inboxPrefix?: string;
  clock?: Clock;
  /** Default: nothing is set. */
  streamSettings?: (stream: StreamName) => StreamSettings;
  /** Ends the wait for the first connection, which otherwise lasts until the server is there. */
  signal?: AbortSignal;
}

/** Resolves once connected, however long the server takes to come up. */
export async function connectNats(options: NatsOptions): Promise<Nats> {
  const settings = connectionOptions(options);
  const connection = await connectFirst(settings, options);
  const reconnected = new Set<() => void>();
  let connected = true;
  void followStatus(connection, options.log, (isUp) => {
    connected = isUp;
    if (isUp) for (const listener of reconnected) listener();
  });
  const window = unflushedWindow(connection);
  return {
    connection,
    streamSettings: options.streamSettings ?? (() => ({})),
    newInbox: () => createInbox(settings.inboxPrefix),
    isConnected: () => connected && !connection.isClosed(),
    onReconnect: (listener) => {
      reconnected.add(listener);
      return () => reconnected.delete(listener);
    },
    publish: (subject, payload, headers) => {
      if (!connected || connection.isClosed() || !window.admits(payload.length)) return false;
      connection.publish(subject, payload, headers === undefined ? {} : { headers });
      return true;
    },
    [Symbol.asyncDispose]: async () => {
      if (connection.isClosed()) return;
      // A server that is away cannot take what is buffered; waiting for it would hold up the stop.
      if (connected) await Promise.race([connection.flush().catch(() => {}), closedOrLate(connection)]);
      await connection.close();
    },
  };
}

/** Our own attempts: the client's wait for the first connection neither tells why it fails nor can be ended. */
async function connectFirst(settings: ConnectionOptions, options: NatsOptions): Promise<NatsConnection> {
  const { signal, log, clock = systemClock } = options;
  for (let attempt = 0; ; attempt += 1) {
    signal?.throwIfAborted();
    try {
      const connection = await connect(settings);
      if (!signal?.aborted) return connection;
      await connection.close();
    } catch (error) {
      // Every 3 s: a service that starts before its broker is no news.
      if (attempt % 12 === 11) log.warn({ err: error, servers: settings.servers }, "cannot connect to NATS, trying on");
      await clock.sleep(200 + Math.random() * 100, signal);
    }
  }
}

function connectionOptions({ url, name, inboxPrefix }: NatsOptions): ConnectionOptions {
  const urls = url.split(",").map((one) => new URL(one.trim()));
  const first = urls[0];
  const user = decodeURIComponent(first?.username ?? "");
  const password = decodeURIComponent(first?.password ?? "");
  return {
    servers: urls.map((one) => one.host),
    name,
    inboxPrefix: inboxPrefix ?? `_INBOX_${user || name}`,
    ...(user === "" ? {} : password === "" ? { token: user } : { user, pass: password }),
    ...(first?.protocol === "tls:" ? { tls: {} } : {}),
    maxReconnectAttempts: -1,
    // A server that restarts with other passwords, or late with its users, is waited for like any other outage.
    ignoreAuthErrorAbort: true,
    reconnectTimeWait: 250,
    reconnectJitter: 250,
    pingInterval: 10_000,
    maxPingOut: 2,
  };
}

/** Logs what an operator must know; the client's pings and each attempt to reconnect are no news. */
async function followStatus(connection: NatsConnection, log: Logger, onChange: (isUp: boolean) => void): Promise<void> {
  for await (const status of connection.status()) {
    switch (status.type) {
      case Events.Disconnect:
        onChange(false);
        log.warn({ server: connection.getServer() }, "lost the connection to NATS, reconnecting");
        break;
      case Events.Reconnect:
        onChange(true);
        log.info({ server: connection.getServer() }, "connected to NATS again");
        break;
      case Events.Error:
        log.error({ code: status.data, permission: status.permissionContext }, "NATS refused an operation");
        break;
      case Events.LDM:
        log.info("the NATS server is about to stop");
        break;
      case Events.Update:
      case DebugEvents.PingTimer:
      case DebugEvents.Reconnecting:
      case DebugEvents.StaleConnection:
      case DebugEvents.ClientInitiatedReconnect:
        break;
    }
  }
}

/**
 * The client queues what it publishes without a bound. A ping's answer proves that everything before it was taken, so
 * at most the limit is under way between two pings.
 */
function unflushedWindow(connection: NatsConnection): { admits(bytes: number): boolean } {
  let unflushedBytes = 0;
  let flushing = false;
  const flush = () => {
    const covered = unflushedBytes;
    flushing = true;
    connection
      .flush()
      .then(() => {
        unflushedBytes -= covered;
      })
      // A lost connection has nothing under way any more.
      .catch(() => {
        unflushedBytes = 0;
      })
      .finally(() => {
        flushing = false;
      });
  };
  return {
    admits: (bytes) => {
      if (unflushedBytes + bytes > MAX_UNFLUSHED_BYTES) return false;
      unflushedBytes += bytes;
      if (!flushing && unflushedBytes > MAX_UNFLUSHED_BYTES / 8) flush();
      return true;
    },
  };
}

async function closedOrLate(connection: NatsConnection): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(late.resolve, 2_000);
  await Promise.race([connection.closed().then(() => {}), late.promise]);
  clearTimeout(timer);
}
