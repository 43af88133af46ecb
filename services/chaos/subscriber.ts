import type { NatsConnection } from "nats";
import { z } from "zod";
import { connectSubscriber, streamInfo } from "../system-tests/fixtures/stream-replay.ts";
import { type FullStream, streamNames } from "./fault-plan.ts";
import type { History, SeenEvent } from "./history.ts";
import { pause } from "./workload/ask.ts";

const BATCH = 50;
const QUESTION_MS = 3_000;

const messageSchema = z.object({
  error: z.object({ code: z.number(), description: z.string() }).optional(),
  message: z.object({ subject: z.string(), seq: z.number(), hdrs: z.string().optional() }).optional(),
});

/**
 * Reads every stream as any subscriber may: message by message, from where it is. A stream that was made anew is read
 * from its beginning. It knows nothing of outboxes and inboxes.
 */
export async function subscribe(natsUrl: string, history: History, signal: AbortSignal): Promise<AsyncDisposable> {
  const connection = await connectSubscriber(natsUrl);
  const reading = streamNames.map((stream) => readOn(connection, stream, history, signal));
  return {
    [Symbol.asyncDispose]: async () => {
      await Promise.all(reading);
      await connection.close();
    },
  };
}

async function readOn(connection: NatsConnection, stream: FullStream, history: History, signal: AbortSignal) {
  let position: { created: string; next: number } | undefined;
  while (!signal.aborted) {
    try {
      const { created, state } = await streamInfo(connection, stream, QUESTION_MS);
      if (created !== undefined && created !== position?.created) position = { created, next: 1 };
      // Not asked for a message before it has one: see readStream.
      const last = state?.last_seq ?? 0;
      if (position !== undefined && last >= position.next) {
        const batch = await readBatch(connection, stream, position.next, last);
        // Only a stream that is still the same after the batch has given what the batch holds.
        if ((await streamInfo(connection, stream, QUESTION_MS)).created === position.created) {
          for (const { event, sequence } of batch) {
            history.seen.push(event);
            position.next = sequence + 1;
          }
          if (batch.length === BATCH) continue;
        }
      }
    } catch {
      // The broker is away: what was read stays read, the rest is asked for again.
    }
    await pause(150, signal);
  }
}

/** Asked for all at once; each answer is the first message from its place on, so where some are gone it repeats. */
async function readBatch(connection: NatsConnection, stream: string, from: number, last: number) {
  const places = Array.from({ length: Math.min(BATCH, last - from + 1) }, (_, index) => from + index);
  const replies = await Promise.all(
    places.map((seq) => {
      const question = JSON.stringify({ seq, next_by_subj: "decentrastore.>" });
      return connection.request(`$JS.API.STREAM.MSG.GET.${stream}`, question, { timeout: QUESTION_MS });
    }),
  );
  const batch: { event: SeenEvent; sequence: number }[] = [];
  for (const reply of replies) {
    const { error, message } = messageSchema.parse(reply.json());
    if (error?.code === 404) break;
    if (message === undefined) throw new Error(`${stream}: ${error?.description ?? "no message and no error"}`);
    if (message.seq <= (batch.at(-1)?.sequence ?? 0)) continue;
    batch.push({ event: eventOf(stream, message), sequence: message.seq });
  }
  return batch;
}

function eventOf(stream: string, { subject, hdrs = "" }: { subject: string; hdrs?: string | undefined }): SeenEvent {
  const headers = new Map(
    Buffer.from(hdrs, "base64")
      .toString()
      .split("\r\n")
      .flatMap((line): [string, string][] => {
        const colon = line.indexOf(":");
        return colon < 0 ? [] : [[line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]];
      }),
  );
  const text = (name: string) => headers.get(name) ?? "";
  const keyVersion = Number(text("ce-keyversion"));
  return { stream, subject, eventId: text("ce-id"), key: text("ce-subject"), keyVersion };
}
