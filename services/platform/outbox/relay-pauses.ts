import type { Logger } from "#platform/log/logger.ts";
import type { PublishOutcome } from "#platform/nats/publisher.ts";
import { isStreamName, type StreamName, streamOf } from "#platform/nats/streams.ts";
import { createBackoffs } from "./backoffs.ts";
import type { OutboxRow } from "./outbox-event.ts";
import type { RelayMetrics } from "./relay-metrics.ts";
import { subjectPrefixes } from "./stream-recovery.ts";

/** Keys that pause are named in the reading; with more of them the reading waits for the first to be due. */
const MAX_PAUSED_KEYS = 256;

/** Which keys and streams have to wait since publishing failed, and what a reading therefore leaves out. */
export interface RelayPauses {
  failed(row: OutboxRow, outcome: Exclude<PublishOutcome, { kind: "stored" }>, nowMs: number): void;
  stored(row: OutboxRow, stream: string): void;
  /** At the start of a reading: what it leaves out, or undefined when too much waits for a reading to make sense. */
  forReading(nowMs: number): { pausedKeys: string[]; pausedPrefixes: string[] } | undefined;
  /** False for rows whose key or stream failed while they were being read: they must not overtake the failed one. */
  mayGo(row: OutboxRow): boolean;
  isStreamPaused(row: OutboxRow): boolean;
  nextAt(): number;
}

export function createRelayPauses(log: Logger, metrics: RelayMetrics): RelayPauses {
  const keys = createBackoffs(100, 15_000);
  const streams = createBackoffs(500, 10_000);

  const streamIsFull = (stream: StreamName, reason: string, nowMs: number) => {
    metrics.streamFull.set({ stream }, 1);
    if (!streams.isPaused(stream)) log.error({ stream, reason }, "the stream is full, its events wait in the outbox");
    streams.failed(stream, nowMs);
  };
  const isStreamPaused = (row: OutboxRow) => streams.size > 0 && streams.isPaused(streamOf(row.subject) ?? "");

  return {
    failed: (row, outcome, nowMs) => {
      const stream = streamOf(row.subject);
      if (outcome.kind === "stream_full" && stream !== undefined) {
        streamIsFull(stream, outcome.reason, nowMs);
        return;
      }
      // A stream without a leader answers nobody: its events would fill what may be held, and those of others not be read.
      if (outcome.kind === "unanswered" && stream !== undefined) streams.failed(stream, nowMs);
      const { key, subject, event_id } = row;
      if (!keys.isPaused(key)) log.warn({ key, subject, eventId: event_id, ...outcome }, "the key has to wait");
      keys.failed(key, nowMs);
    },
    stored: (row, stream) => {
      keys.succeeded(row.key);
      streams.succeeded(stream);
    },
    forReading: (nowMs) => {
      const pausedKeys = keys.resume(nowMs);
      const pausedStreams = streams.resume(nowMs).filter(isStreamName);
      metrics.pausedKeys.set(pausedKeys.length);
      if (pausedKeys.length >= MAX_PAUSED_KEYS) return undefined;
      return { pausedKeys, pausedPrefixes: subjectPrefixes(pausedStreams) };
    },
    mayGo: (row) => !isStreamPaused(row) && (keys.size === 0 || !keys.isPaused(row.key)),
    isStreamPaused,
    nextAt: () => Math.min(keys.nextAt() ?? Infinity, streams.nextAt() ?? Infinity),
  };
}
