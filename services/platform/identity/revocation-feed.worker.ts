import { fromBinary } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import {
  UserDeactivatedSchema,
  UserDeletedSchema,
  UserSessionsRevokedSchema,
} from "#gen/decentrastore/events/v1/events_pb.ts";
import { envelopeFrom } from "#platform/events/envelope.ts";
import type { Logger } from "#platform/log/logger.ts";
import type { Nats } from "#platform/nats/connect.ts";
import { readStream } from "#platform/nats/read-stream.ts";
import { jetStreamErrorCode } from "#platform/nats/streams.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import { fromTimestamp } from "#platform/rpc/time.ts";
import type { Clock } from "#platform/time/clock.ts";
import { NOTICE_LIFE_MS, type RevocationNotice, type Revocations } from "./revocations.ts";

export interface RevocationFeedOptions {
  readonly nats: Nats;
  readonly revocations: Revocations;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly signal: AbortSignal;
  /** How long the start waits for the first reading of the stream, default 2,000. */
  readonly startWaitMs?: number;
}

const subjects = [
  "decentrastore.user.deactivated.*",
  "decentrastore.user.deleted.*",
  "decentrastore.user.sessions_revoked.*",
] as const;

const STREAM_NOT_FOUND = 10059;
/** Between two looks for what the subscription may have missed. */
const RESYNC_MS = 15_000;

/**
 * Keeps a verifier's revocations up to date: from the USERS stream at the start and after each reconnect, and in
 * between as the events are published, without a consumer of its own. While NATS is away, tokens are good until they
 * end. Resolves once the stream was read, or late: then a warning says so.
 */
export async function startRevocationFeed(options: RevocationFeedOptions): Promise<AsyncDisposable> {
  const { nats, clock, log, revocations } = options;
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  options.metrics.gauge({ name: "token_revocations", help: "Revocations that the verifier knows." }, (gauge) =>
    gauge.set(revocations.size()),
  );
  const subscriptions = subjects.map((subject) =>
    nats.connection.subscribe(subject, {
      callback: (_error, message) => apply(options, message.headers?.get("ce-type") ?? "", message.data),
    }),
  );
  let wake = new AbortController();
  const offReconnect = nats.onReconnect(() => wake.abort());
  const firstSync = Promise.withResolvers<void>();

  const running = (async () => {
    const position: Position = { next: undefined, streamCreated: undefined };
    while (!signal.aborted) {
      wake = new AbortController();
      try {
        await catchUp(options, position, signal);
        firstSync.resolve();
      } catch (error) {
        // Auth has not made the stream yet, so nobody has been revoked.
        if (jetStreamErrorCode(error) === STREAM_NOT_FOUND) firstSync.resolve();
        else log.warn({ err: error }, "revocations could not be read from the stream, trying again");
      }
      await clock.sleep(position.next === undefined ? 1_000 : RESYNC_MS, AbortSignal.any([signal, wake.signal]));
    }
  })();

  const late = new AbortController();
  const isLate = clock.sleep(options.startWaitMs ?? 2_000, late.signal).then(() => !late.signal.aborted);
  if (await Promise.race([firstSync.promise.then(() => false), isLate])) {
    log.warn("starting without the revocations of the last minutes: the stream cannot be read");
  }
  late.abort();
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      offReconnect();
      for (const subscription of subscriptions) subscription.unsubscribe();
      await running;
    },
  };
}

interface Position {
  /** The first sequence that was not read yet; undefined before the first reading. */
  next: number | undefined;
  /** Which stream of that name was read. */
  streamCreated: string | undefined;
}

async function catchUp(options: RevocationFeedOptions, position: Position, signal: AbortSignal): Promise<void> {
  const { nats, clock } = options;
  const { streams } = await nats.connection.jetstreamManager({ checkAPI: false });
  const { state, created } = await streams.info("USERS");
  const end = state.last_seq + 1;
  // It was lost and made again, or put back to what it was earlier: its numbers mean other events.
  const isNew = position.next === undefined || position.streamCreated !== created || position.next > end;
  const since = clock.now().subtract({ milliseconds: NOTICE_LIFE_MS });
  const from = isNew ? await firstSince(nats, since, state.first_seq, end) : (position.next ?? 1);
  if (from < end) {
    for (const subject of subjects) {
      for await (const message of readStream(nats, "USERS", { subject, fromSequence: from, signal })) {
        apply(options, message.headers.get("ce-type"), message.payload);
      }
    }
  }
  if (signal.aborted) return;
  position.next = end;
  position.streamCreated = created;
}

/** The first sequence whose event is not older than `since`: events lie in the stream about in their order of time. */
async function firstSince(nats: Nats, since: Temporal.Instant, first: number, end: number): Promise<number> {
  let [low, high] = [first, end];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const { value } = await readStream(nats, "USERS", { fromSequence: middle }).next();
    if (value === undefined || Temporal.Instant.compare(envelopeFrom(value.headers).time, since) >= 0) high = middle;
    else low = value.sequence + 1;
  }
  return low;
}

function apply({ revocations, log }: RevocationFeedOptions, type: string, payload: Uint8Array): void {
  try {
    const notice = noticeOf(type, payload);
    if (notice !== undefined) revocations.add(notice);
  } catch (error) {
    log.error({ err: error, type }, "a revocation could not be read");
  }
}

function noticeOf(type: string, payload: Uint8Array): RevocationNotice | undefined {
  switch (type) {
    case UserDeactivatedSchema.typeName:
      return noticeFrom(fromBinary(UserDeactivatedSchema, payload));
    case UserSessionsRevokedSchema.typeName:
      return noticeFrom(fromBinary(UserSessionsRevokedSchema, payload));
    case UserDeletedSchema.typeName:
      return noticeFrom({ ...fromBinary(UserDeletedSchema, payload), sessionIds: [] });
    default:
      return undefined;
  }
}

function noticeFrom(event: {
  readonly userId: string;
  readonly sessionIds: readonly string[];
  readonly validAfter?: Timestamp | undefined;
}): RevocationNotice {
  if (event.validAfter === undefined) throw new Error("the event has no valid_after");
  return { userId: event.userId, sessionIds: event.sessionIds, validAfter: fromTimestamp(event.validAfter) };
}
