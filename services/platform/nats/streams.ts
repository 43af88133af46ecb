import {
  DiscardPolicy,
  NatsError,
  nanos,
  RetentionPolicy,
  StorageType,
  type StreamAPI,
  type StreamConfig,
  type StreamInfo,
} from "nats";
import type { Logger } from "#platform/log/logger.ts";
import type { Nats } from "./connect.ts";
import { raisedLimits, type StreamName, type StreamSettings } from "./stream-settings.ts";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const MiB = 1024 * 1024;
const GiB = 1024 * MiB;

export type { StreamName, StreamSettings } from "./stream-settings.ts";

interface StreamDefinition {
  readonly subjects: readonly string[];
  /** The size at which a full stream refuses new events, which then wait in the outbox. */
  readonly maxBytes: number;
  readonly special?: Partial<StreamConfig>;
}

const nodeEvents = [
  "registered",
  "online",
  "suspect",
  "offline",
  "state_changed",
  "deregistered",
  "proof_failed",
  "reputation_changed",
  "disqualified",
];

/** Which subjects lie in which stream. No two streams may overlap, so the heartbeats keep NODES from `node.>`. */
export const streamDefinitions: Readonly<Record<StreamName, StreamDefinition>> = {
  USERS: { subjects: ["decentrastore.user.>"], maxBytes: GiB },
  QUOTAS: { subjects: ["decentrastore.quota.>"], maxBytes: GiB },
  NODES: { subjects: nodeEvents.map((event) => `decentrastore.node.${event}.*`), maxBytes: 2 * GiB },
  CHUNKS: { subjects: ["decentrastore.chunk.>", "decentrastore.upload.>"], maxBytes: 8 * GiB },
  NODE_HEARTBEATS: {
    subjects: ["decentrastore.node.heartbeat.*"],
    maxBytes: GiB,
    special: { max_msgs_per_subject: 1, discard: DiscardPolicy.Old },
  },
  DEAD_LETTERS: { subjects: ["decentrastore.dead.>"], maxBytes: GiB, special: { max_age: nanos(30 * DAY) } },
};

export function streamConfig(
  name: StreamName,
  settings: StreamSettings = {},
): Partial<StreamConfig> & { name: string } {
  const definition = streamDefinitions[name];
  return {
    name,
    subjects: [...definition.subjects],
    storage: StorageType.File,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.New,
    max_age: nanos(3 * DAY),
    duplicate_window: nanos(2 * MINUTE),
    max_bytes: settings.maxBytes ?? definition.maxBytes,
    num_replicas: settings.replicas ?? 1,
    ...definition.special,
  };
}

const byPrefix = Object.entries(streamDefinitions).flatMap(([name, { subjects }]) =>
  isStreamName(name)
    ? subjects.map((pattern) => ({ name, prefix: pattern.slice(0, -1), isOneWord: pattern.endsWith("*") }))
    : [],
);

/** The stream that keeps this subject, by the definitions above: their patterns have one wildcard, and that at the end. */
export function streamOf(subject: string): StreamName | undefined {
  return byPrefix.find(({ prefix, isOneWord }) => {
    const isBelow = subject.length > prefix.length && subject.startsWith(prefix);
    return isBelow && !(isOneWord && subject.includes(".", prefix.length));
  })?.name;
}

export function isStreamName(name: string): name is StreamName {
  return Object.hasOwn(streamDefinitions, name);
}

/** NATS subject matching: `*` is one word, `>` the rest. */
export function subjectMatches(pattern: string, subject: string): boolean {
  const wanted = pattern.split(".");
  const words = subject.split(".");
  for (const [index, word] of wanted.entries()) {
    if (word === ">") return words.length > index;
    if (words[index] === undefined || (word !== "*" && word !== words[index])) return false;
  }
  return words.length === wanted.length;
}

const STREAM_NOT_FOUND = 10059;
const STREAM_NAME_IN_USE = 10058;
const INSUFFICIENT_STORAGE = 10047;

/** The error number of the JetStream API, where the error came from there. */
export function jetStreamErrorCode(error: unknown): number | undefined {
  return error instanceof NatsError ? error.api_error?.err_code : undefined;
}

/** There is no such stream (yet, or any more). */
export function isStreamMissing(error: unknown): boolean {
  return jetStreamErrorCode(error) === STREAM_NOT_FOUND;
}

/** When the stream was made, as exactly as PostgreSQL keeps it. One made again under its name has another creation. */
export function creationOf(info: StreamInfo): Temporal.Instant {
  return Temporal.Instant.from(info.created).round({ smallestUnit: "microsecond", roundingMode: "trunc" });
}

/** Everything up to this number is gone from the stream. */
export function droppedUpTo({ state }: StreamInfo): number {
  return state.messages === 0 ? state.last_seq : state.first_seq - 1;
}

/**
 * The stream as it is now, made when it is missing. One that is there keeps its limits, which an operator may have tuned,
 * unless the settings ask for more, and gets the subjects that it lacks, which a newer version brings. One that somebody made
 * to discard old messages when it is full, as NATS's own tools do, would lose events that nobody has read: that is changed.
 * `settings` go before those of the connection.
 */
export async function ensureStream(
  nats: Nats,
  name: StreamName,
  settings: StreamSettings,
  log: Logger,
): Promise<{ info: StreamInfo; isNew: boolean }> {
  const { streams } = await nats.connection.jetstreamManager({ checkAPI: false });
  const wanted = { ...nats.streamSettings(name), ...settings };
  try {
    return { info: await adjustStream(streams, await streams.info(name), name, wanted, log), isNew: false };
  } catch (error) {
    if (!isStreamMissing(error)) throw error;
  }
  return await makeStream(streams, streamConfig(name, wanted), log);
}

/** A change that the server refuses, such as replicas without a cluster, is warned of: the stream works as it is. */
async function adjustStream(
  streams: StreamAPI,
  info: StreamInfo,
  name: StreamName,
  wanted: StreamSettings,
  log: Logger,
): Promise<StreamInfo> {
  let current = info;
  const missing = streamDefinitions[name].subjects.filter((subject) => !info.config.subjects.includes(subject));
  if (missing.length > 0) {
    log.info({ stream: name, subjects: missing }, "the stream gets further subjects");
    current = await streams.update(name, { subjects: [...info.config.subjects, ...missing] });
  }
  const { raised, lower } = raisedLimits(info.config, wanted);
  if (Object.keys(lower).length > 0) {
    log.warn({ stream: name, settings: lower }, "a stream's limits are never lowered by a service, it stays as it is");
  }
  const { discard } = streamConfig(name);
  const changes = { ...raised, ...(discard === undefined || discard === info.config.discard ? {} : { discard }) };
  if (Object.keys(changes).length === 0) return current;
  try {
    current = await streams.update(name, changes);
    log.info({ stream: name, ...changes }, "changed the stream's limits");
  } catch (error) {
    if (jetStreamErrorCode(error) === undefined) throw error;
    log.warn({ err: error, stream: name, ...changes }, "NATS refuses to change the stream's limits");
  }
  return current;
}

async function makeStream(
  streams: StreamAPI,
  wanted: ReturnType<typeof streamConfig>,
  log: Logger,
): Promise<{ info: StreamInfo; isNew: boolean }> {
  let config = wanted;
  for (;;) {
    try {
      const info = await streams.add(config);
      log.info({ stream: config.name, maxBytes: config.max_bytes }, "made a JetStream stream");
      return { info, isNew: true };
    } catch (error) {
      const code = jetStreamErrorCode(error);
      // Somebody else was quicker, with other limits.
      if (code === STREAM_NAME_IN_USE) return { info: await streams.info(config.name), isNew: false };
      // max_bytes is reserved in full; a smaller disk gets a smaller stream, down to a size that is of no use.
      const smaller = Math.floor((config.max_bytes ?? 0) / 2);
      if (code !== INSUFFICIENT_STORAGE || smaller < MiB) throw error;
      log.warn({ stream: config.name, maxBytes: smaller }, "NATS has too little storage for the stream, halving it");
      config = { ...config, max_bytes: smaller };
    }
  }
}
