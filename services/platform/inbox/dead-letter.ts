import { type MsgHdrs, headers as newHeaders } from "nats";
import type { Logger } from "#platform/log/logger.ts";
import { redact } from "#platform/log/redact.ts";
import type { Nats } from "#platform/nats/connect.ts";
import { ensureStream, type StreamName } from "#platform/nats/streams.ts";

/** Headers that a dead letter has besides those of the event. */
export const deadLetterHeaders = {
  consumer: "dead-consumer",
  subject: "dead-subject",
  stream: "dead-stream",
  sequence: "dead-stream-sequence",
  tries: "dead-tries",
  cause: "dead-cause",
  time: "dead-time",
} as const;

export interface DeadLetterCause {
  stream: StreamName;
  schema: string;
  durable: string;
  tries: number;
  error: unknown;
  time: Temporal.Instant;
}

export interface GivenUpMessage {
  subject: string;
  headers?: MsgHdrs | undefined;
  data: Uint8Array;
  streamSequence: number;
}

/**
 * Puts an event that cannot be applied aside, with the reason. Returns once the broker has it; a repeat is stored once.
 * Each service may write only below its own name.
 */
export async function publishDeadLetter(
  nats: Nats,
  message: GivenUpMessage,
  cause: DeadLetterCause,
  log: Logger,
): Promise<void> {
  const all = newHeaders();
  for (const [name, values] of message.headers ?? []) {
    if (!name.startsWith("Nats-")) all.set(name, values[0] ?? "");
  }
  all.set("Nats-Msg-Id", `${cause.durable} ${cause.stream} ${message.streamSequence} ${message.headers?.get("ce-id")}`);
  all.set(deadLetterHeaders.consumer, cause.durable);
  all.set(deadLetterHeaders.subject, message.subject);
  all.set(deadLetterHeaders.stream, cause.stream);
  all.set(deadLetterHeaders.sequence, String(message.streamSequence));
  all.set(deadLetterHeaders.tries, String(cause.tries));
  all.set(deadLetterHeaders.cause, causeText(cause.error));
  all.set(deadLetterHeaders.time, cause.time.toString());
  const subject = `decentrastore.dead.${cause.schema.replaceAll("_", "-")}.${cause.durable}`;
  await ensureStream(nats, "DEAD_LETTERS", {}, log);
  await nats.connection.jetstream({ checkAPI: false }).publish(subject, message.data, { headers: all, timeout: 5_000 });
}

/** The messages of the error and its causes, in one line of bounded length; subscribers can read it. */
function causeText(error: unknown): string {
  const parts: string[] = [];
  for (let current = error; current !== undefined && parts.length < 5; ) {
    parts.push(current instanceof Error ? `${current.name}: ${current.message}` : String(current));
    current = current instanceof Error ? current.cause : undefined;
  }
  return redact(parts.join(" <- ").replace(/\s+/g, " ")).slice(0, 1_000) || "unknown";
}
