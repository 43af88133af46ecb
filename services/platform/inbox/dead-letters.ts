import { type MsgHdrs, headers as newHeaders } from "nats";
import type { Nats } from "#platform/nats/connect.ts";
import { readStream, type StoredMessage } from "#platform/nats/read-stream.ts";
import { isStreamMissing } from "#platform/nats/streams.ts";
import { deadLetterHeaders } from "./dead-letter.ts";

/** An event that a consumer gave up. */
export interface DeadLetter {
  /** Its number among the dead letters, by which it is requeued. */
  sequence: number;
  consumer: string;
  eventId: string;
  type: string;
  key: string;
  /** Where it came from. */
  subject: string;
  stream: string;
  streamSequence: string;
  tries: number;
  cause: string;
  time: string;
  payload: Uint8Array;
}

/** All dead letters, or those of one consumer, oldest first. */
export async function listDeadLetters(nats: Nats, filter: { consumer?: string } = {}): Promise<DeadLetter[]> {
  const letters: DeadLetter[] = [];
  const subject = filter.consumer === undefined ? "decentrastore.dead.>" : `decentrastore.dead.*.${filter.consumer}`;
  try {
    for await (const message of readStream(nats, "DEAD_LETTERS", { subject })) letters.push(deadLetterFrom(message));
  } catch (error) {
    // Nobody ever gave anything up.
    if (!isStreamMissing(error)) throw error;
  }
  return letters;
}

/**
 * Publishes the event again where it came from, and takes it off the dead letters once it is stored there. It keeps its
 * id: consumers that applied it drop it, the one that gave it up, whose name it carries, tries it again, behind newer
 * events of its key.
 * Needs an operator's rights.
 */
export async function requeueDeadLetter(nats: Nats, sequence: number): Promise<DeadLetter> {
  const { streams } = await nats.connection.jetstreamManager({ checkAPI: false });
  const { subject, seq, header, data } = await streams.getMessage("DEAD_LETTERS", { seq: sequence });
  const letter = deadLetterFrom({ subject, sequence: seq, headers: header, payload: data });
  const all = newHeaders();
  for (const [name, values] of header) {
    if (!name.startsWith("Nats-") && !name.startsWith("dead-")) all.set(name, values[0] ?? "");
  }
  all.set("requeued-for", letter.consumer);
  all.set("requeued-sequence", letter.streamSequence);
  // Its own id would be dropped as a duplicate within two minutes of the first publication; this one makes it one event
  // however often the command is repeated.
  all.set("Nats-Msg-Id", `requeue ${letter.consumer} ${letter.eventId} ${letter.streamSequence}`);
  await nats.connection.jetstream({ checkAPI: false }).publish(letter.subject, data, { headers: all });
  await streams.deleteMessage("DEAD_LETTERS", sequence, false);
  return letter;
}

function deadLetterFrom({ sequence, headers, payload }: StoredMessage): DeadLetter {
  return {
    sequence,
    consumer: headers.get(deadLetterHeaders.consumer),
    ...eventFacts(headers),
    subject: headers.get(deadLetterHeaders.subject),
    stream: headers.get(deadLetterHeaders.stream),
    streamSequence: headers.get(deadLetterHeaders.sequence),
    tries: Number(headers.get(deadLetterHeaders.tries)),
    cause: headers.get(deadLetterHeaders.cause),
    time: headers.get(deadLetterHeaders.time),
    payload,
  };
}

function eventFacts(headers: MsgHdrs) {
  return { eventId: headers.get("ce-id"), type: headers.get("ce-type"), key: headers.get("ce-subject") };
}
