import type { Msg } from "nats";
import { type Envelope, envelopeFrom, instantFrom } from "./envelope.ts";

/** What a receiver learns of an event besides its payload. */
export interface ReceivedEnvelope extends Omit<Envelope, "time"> {
  /** RFC 3339 in UTC, as the sender wrote it, and checked. */
  readonly time: string;
}

/**
 * The envelope of a message. Throws MalformedEnvelopeError, which names the header.
 *
 * Headers exactly as our relays write them are read from the bytes that arrived, in one go: 2 µs instead of 11 for the
 * client's headers, which are a list per name. All others take the client's way.
 */
export function envelopeOf(message: Msg): ReceivedEnvelope {
  const envelope = relayedEnvelope(message);
  if (envelope !== undefined) return envelope;
  const { time, ...others } = envelopeFrom(message.headers);
  return { ...others, time: time.toString() };
}

/** What `sealedHeaders` writes; a day above 28 is left to the calendar. */
const relayed = new RegExp(
  [
    /^NATS\/1\.0\r\nNats-Msg-Id: [^\r]*\r\nce-specversion: 1\.0\r\n/,
    /ce-id: ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\r\nce-type: (\S+)\r\nce-source: (\S+)\r\nce-subject: (\S+)\r\n/,
    /ce-time: (\d{4}-(?:0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?Z)\r\n/,
    /ce-sequence: (-?\d{1,18})\r\nce-keyversion: (-?\d{1,18})\r\ncontent-type: application\/protobuf\r\n/,
    /(?:traceparent: (\S+)\r\n)?(?:Nats-Expected-Stream: \S+\r\n)?\r\n$/,
  ]
    .map(({ source }) => source)
    .join(""),
);

/** Undefined where the headers lie elsewhere or look otherwise. */
export function relayedEnvelope(message: Msg): ReceivedEnvelope | undefined {
  const found = relayed.exec(headerText(message));
  if (found === null) return undefined;
  const [, eventId = "", type = "", source = "", key = "", time = "", day = ""] = found;
  const [sequence = "", keyVersion = "", traceparent] = found.slice(7);
  if (day > "28") instantFrom(time);
  const envelope = { eventId, type, source, key, time, sequence: BigInt(sequence), keyVersion: BigInt(keyVersion) };
  return traceparent === undefined ? envelope : { ...envelope, traceparent };
}

/** The client keeps a message's headers in the memory before its payload, and tells what all of it takes. */
function headerText(message: Msg): string {
  if (!hasSize(message)) return "";
  const { data, subject, reply } = message;
  const length = message.size() - subject.length - (reply?.length ?? 0) - data.length;
  if (length <= 0 || length > data.byteOffset) return "";
  return Buffer.from(data.buffer, data.byteOffset - length, length).toString();
}

function hasSize(message: object): message is { size(): number } {
  return "size" in message && typeof message.size === "function";
}
