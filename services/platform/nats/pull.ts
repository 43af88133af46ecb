import { type Msg, nanos } from "nats";
import type { Clock } from "#platform/time/clock.ts";
import type { Nats } from "./connect.ts";
import type { StreamName } from "./streams.ts";

const EXPIRES_MS = 30_000;
const HEARTBEAT_MS = 5_000;
const ACK = new TextEncoder().encode("+ACK");
const TERM = new TextEncoder().encode("+TERM");
const IDLE_HEARTBEAT = 100;
/**
 * Messages per request. All of a large request arrive in one turn of the event loop, in which no answer of the database
 * is seen: in portions, reading the next batch overlaps with writing the one before.
 */
const PORTION = 128;

/** A message of a durable consumer, with what the subject of its acknowledgement tells. */
export interface Delivery {
  message: Msg;
  streamSequence: number;
  deliveries: number;
  /** Messages of the stream that wait behind this one. */
  pending: number;
}

export interface PullOptions<T> {
  nats: Nats;
  stream: StreamName;
  durable: string;
  /** Messages that are asked for or lie ready, at most. */
  capacity: number;
  clock: Clock;
  /** Called as each arrives, so that reading messages overlaps with waiting for the database. */
  decode: (delivery: Delivery) => T;
  /** Something lies ready. */
  onReady: () => void;
  /** The consumer is gone, or deliveries were lost on the way: it has to be set up again. */
  onLost: (reason: string) => void;
}

export interface Pull<T> extends Disposable {
  take(limit: number): T[];
  readonly buffered: number;
  /** Without an answer: a lost one leads to a redelivery, which the inbox recognises. */
  acknowledge(delivery: Delivery): void;
  /** Never deliver it again. */
  terminate(delivery: Delivery): void;
}

/**
 * Pulls from a durable consumer over one subscription and keeps a bounded number of messages ready. It notices by itself
 * when the consumer was deleted, when the server went silent, and when a delivery was lost, since deliveries are
 * numbered without gaps: a consumer of events that depend on each other must not go on behind a gap.
 */
export function startPull<T>(options: PullOptions<T>): Pull<T> {
  const { nats, stream, durable, capacity, clock, decode, onReady, onLost } = options;
  const { connection } = nats;
  const inbox = nats.newInbox();
  const requestSubject = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${durable}`;
  let ready: T[] = [];
  let asked = 0;
  let lastDelivery = 0;
  let heardAt = clock.monotonicMs();

  const ask = () => {
    if (asked > PORTION / 2) return;
    const batch = Math.min(PORTION, capacity - asked - ready.length);
    // Single messages are not worth a request each while others are under way or wait.
    if (batch < 1 || (batch < PORTION / 2 && asked + ready.length > 0)) return;
    asked += batch;
    const request = { batch, expires: nanos(EXPIRES_MS), idle_heartbeat: nanos(HEARTBEAT_MS) };
    connection.publish(requestSubject, JSON.stringify(request), { reply: inbox });
  };
  const onStatus = (message: Msg) => {
    const code = message.headers?.code ?? 0;
    if (code === IDLE_HEARTBEAT) return;
    const unserved = Number(message.headers?.get("Nats-Pending-Messages"));
    asked = Number.isInteger(unserved) && unserved > 0 ? Math.max(0, asked - unserved) : 0;
    // 404 and 408: the request is over without having got all it asked for.
    if (code === 404 || code === 408) ask();
    else onLost(`${code} ${message.headers?.description ?? ""}`.trim());
  };
  const subscription = connection.subscribe(inbox, {
    callback: (error, message) => {
      heardAt = clock.monotonicMs();
      if (error !== null) {
        onLost(error.message);
        return;
      }
      const numbers = deliveryNumbers(message.reply);
      if (numbers === undefined) {
        onStatus(message);
        return;
      }
      asked = Math.max(0, asked - 1);
      if (numbers.deliverySequence !== lastDelivery + 1) {
        onLost(`delivery ${lastDelivery + 1} is missing`);
        return;
      }
      lastDelivery = numbers.deliverySequence;
      const { streamSequence, deliveries, pending } = numbers;
      ready.push(decode({ message, streamSequence, deliveries, pending }));
      ask();
      onReady();
    },
  });
  const watchdog = setInterval(() => {
    const isSilent = asked > 0 && clock.monotonicMs() - heardAt > 3 * HEARTBEAT_MS;
    if (isSilent && nats.isConnected()) onLost("the server is silent");
  }, HEARTBEAT_MS);
  ask();

  return {
    take: (limit) => {
      const taken = ready.slice(0, limit);
      ready = ready.slice(limit);
      ask();
      return taken;
    },
    get buffered() {
      return ready.length;
    },
    acknowledge: ({ message }) => answer(message, ACK),
    terminate: ({ message }) => answer(message, TERM),
    [Symbol.dispose]: () => {
      clearInterval(watchdog);
      if (!connection.isClosed()) subscription.unsubscribe();
    },
  };
}

function answer(message: Msg, word: Uint8Array): void {
  message.respond(word);
}

/**
 * `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<delivery seq>.<time>.<pending>`; newer servers may put domain
 * and account in front of the stream and a random word behind.
 */
function deliveryNumbers(
  reply: string | undefined,
): { deliveries: number; streamSequence: number; deliverySequence: number; pending: number } | undefined {
  if (reply === undefined || !reply.startsWith("$JS.ACK.")) return undefined;
  const words = reply.split(".");
  const first = words.length === 9 ? 4 : 6;
  const pending = words[first + 4];
  if (pending === undefined) return undefined;
  return {
    deliveries: Number(words[first]),
    streamSequence: Number(words[first + 1]),
    deliverySequence: Number(words[first + 2]),
    pending: Number(pending),
  };
}
