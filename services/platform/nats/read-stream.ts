import type { MsgHdrs } from "nats";
import type { Nats } from "./connect.ts";
import { jetStreamErrorCode, type StreamName } from "./streams.ts";

const MESSAGE_NOT_FOUND = 10037;

export interface StoredMessage {
  subject: string;
  sequence: number;
  headers: MsgHdrs;
  payload: Uint8Array;
}

/**
 * What a stream holds now of a subject (with wildcards), oldest first, up to its end as of each step. One request per
 * message and no consumer, so that the read-only subscriber may do it too.
 *
 * The stream is asked for its end before any message: nats-server 2.9 knows a stream by name before it has its store, and
 * dies of the question for a message of it. A stream that has had a message has its store.
 */
export async function* readStream(
  nats: Nats,
  stream: StreamName,
  options: { subject?: string; fromSequence?: number; signal?: AbortSignal } = {},
): AsyncGenerator<StoredMessage> {
  const { streams } = await nats.connection.jetstreamManager({ checkAPI: false });
  let sequence = options.fromSequence ?? 1;
  if ((await streams.info(stream)).state.last_seq < sequence) return;
  while (!options.signal?.aborted) {
    const query = { seq: sequence, next_by_subj: options.subject ?? ">" };
    try {
      const { seq, subject, header, data } = await streams.getMessage(stream, query);
      yield { subject, sequence: seq, headers: header, payload: data };
      sequence = seq + 1;
    } catch (error) {
      if (jetStreamErrorCode(error) === MESSAGE_NOT_FOUND) return;
      throw error;
    }
  }
}
