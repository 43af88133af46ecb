import { type History, ownChunks, type SeenEvent } from "../history.ts";
import type { Observed, OutboxRow } from "../observed.ts";
import { clearChanges, unannounced } from "./announcements.ts";
import { nodesUntold } from "./node-events.ts";
import { countBy, type Promised } from "./promise.ts";

export const eventsPromise: Promised = {
  number: 1,
  title: "no event without its change, no change without its event; at least once, per key in order",
  evidence: ({ seen, revocations }, { outbox, told }) => {
    const keys = new Set(outbox.map(({ key }) => key)).size;
    const ended = revocations.filter(({ answer }) => answer === "acknowledged").length;
    const seenTimes = `${outbox.length} events of ${keys} keys, seen ${seen.length} times by the subscriber`;
    return `${seenTimes}; ${told.thresholds.length} thresholds, ${ended} revocations`;
  },
  problems: (history, observed) => [
    ...unpublished(observed.outbox),
    ...unseen(history.seen, observed.outbox),
    ...foreign(history.seen, observed.outbox),
    ...gaps(observed.outbox),
    ...disorder(history.seen),
    ...changesWithoutEvent(history, observed),
    ...statesWithoutEvent(history, observed),
    ...unannounced(history, observed),
    ...nodesUntold(history, observed),
    ...(observed.deadLetters > 0 ? [`${observed.deadLetters} events were given up`] : []),
  ],
};

const name = ({ type, key, keyVersion }: OutboxRow) => `${type.replace(/^.*\./, "")} ${key} ${keyVersion}`;

function unpublished(outbox: readonly OutboxRow[]): string[] {
  return outbox.filter((row) => !row.isPublished).map((row) => `not published: ${name(row)}`);
}

function unseen(seen: readonly SeenEvent[], outbox: readonly OutboxRow[]): string[] {
  const ids = new Set(seen.map(({ eventId }) => eventId));
  return outbox.filter(({ eventId }) => !ids.has(eventId)).map((row) => `never seen by the subscriber: ${name(row)}`);
}

function foreign(seen: readonly SeenEvent[], outbox: readonly OutboxRow[]): string[] {
  const ids = new Set(outbox.map(({ eventId }) => eventId));
  const unknown = new Set(seen.filter(({ eventId }) => !ids.has(eventId)).map(({ subject }) => subject));
  return [...unknown].map((subject) => `an event without its change: ${subject}`);
}

/** In the outbox the versions of a key are 1, 2, 3 ... in the order of ids. */
function gaps(outbox: readonly OutboxRow[]): string[] {
  const problems: string[] = [];
  const last = new Map<string, number>();
  for (const row of outbox.toSorted((a, b) => a.id - b.id)) {
    const of = `${row.schema} ${row.key}`;
    const expected = (last.get(of) ?? 0) + 1;
    if (row.keyVersion !== expected) problems.push(`version ${expected} expected in the outbox: ${name(row)}`);
    last.set(of, row.keyVersion);
  }
  return problems;
}

/** The subscriber may see an event again, but never one before its predecessor was seen. */
function disorder(seen: readonly SeenEvent[]): string[] {
  const problems: string[] = [];
  const highest = new Map<string, number>();
  for (const { stream, key, keyVersion, subject } of seen) {
    const before = highest.get(`${stream} ${key}`) ?? 0;
    if (keyVersion > before + 1) problems.push(`version ${keyVersion} seen after ${before}: ${subject}`);
    highest.set(`${stream} ${key}`, Math.max(before, keyVersion));
  }
  return problems;
}

/** Every acknowledged change has its event, and the changes that happen once have one. */
function changesWithoutEvent(history: History, { outbox, replicas }: Observed): string[] {
  const count = countBy(outbox, ({ type, key }) => `${type.replace(/^.*\./, "")} ${key}`);
  const problems: string[] = [];
  const once = (event: string, key: string) => {
    const times = count.get(`${event} ${key}`) ?? 0;
    if (times !== 1) problems.push(`${event} of ${key}: ${times} times instead of once`);
  };
  for (const user of history.users) {
    if (user.registered === "acknowledged" && user.userId !== undefined) once("UserRegistered", user.userId);
    if (user.deletion === "acknowledged" && user.userId !== undefined) once("UserDeleted", user.userId);
    if (user.deactivation === "acknowledged" && user.userId !== undefined) once("UserDeactivated", user.userId);
  }
  for (const upload of history.uploads) {
    if (upload.isReported && upload.release === undefined) once("UploadCompleted", upload.uploadId);
    if (upload.user.deletion !== undefined || upload.release !== "acknowledged" || upload.placed !== "acknowledged")
      continue;
    for (const { chunkHash } of ownChunks(upload)) once("ChunkReleased", chunkHash);
  }
  // A replica that repair asked for is told of as repaired, not as stored.
  const told = (chunkHash: string) =>
    (count.get(`ChunkStored ${chunkHash}`) ?? 0) + (count.get(`ChunkRepaired ${chunkHash}`) ?? 0);
  const chunkOf = (replica: string) => replica.split(" ")[1] ?? "";
  for (const [what, set] of [["confirmations", history.confirmed] as const, ["replicas", replicas] as const]) {
    for (const [chunkHash, times] of countBy(set, chunkOf)) {
      if (told(chunkHash) < times) problems.push(`chunk ${chunkHash}: ${told(chunkHash)} events for ${times} ${what}`);
    }
  }
  return problems;
}

/**
 * A node that was acknowledged to be in one state and then in another has an event of the latter. At least: the system
 * changes states as well, and what came after an answer that is not clear may have been so already.
 */
function statesWithoutEvent({ nodeStates }: History, { outbox }: Observed): string[] {
  const changes = clearChanges(nodeStates.map(({ nodeId, state, answer }) => ({ of: nodeId, state, answer })));
  const ofStates = outbox.filter(({ type }) => type.endsWith(".NodeStateChanged"));
  const told = countBy(ofStates, ({ key }) => key);
  return [...changes].flatMap(([nodeId, times]) => {
    const events = told.get(nodeId) ?? 0;
    return events < times ? [`node ${nodeId}: ${events} events for ${times} changes of its state`] : [];
  });
}
