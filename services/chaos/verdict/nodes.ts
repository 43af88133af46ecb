import type { Beat, Disturbance, History, Silence } from "../history.ts";
import type { Observed } from "../observed.ts";
import type { Promised } from "./promise.ts";

export const ownWordPromise: Promised = {
  number: 3,
  title: "only the node speaks for the node",
  evidence: ({ reported }, { replicas }) => `${replicas.size} replicas against ${reported.size} reports`,
  problems: ({ reported, falseConfirmations }, { replicas }) => [
    ...falseConfirmations.map((text) => `a chunk that was never placed there was confirmed: ${text}`),
    ...[...replicas].filter((replica) => !reported.has(replica)).map((replica) => `nobody reported ${replica}`),
  ],
};

/** Stored heartbeats lag the truth by so much at most. */
const STORED_LAG_MS = 2_000;

/** `leaseMs` as the registry of this run was told. */
export function livenessPromise(leaseMs: number): Promised {
  return {
    number: 4,
    title: "no node that could reach the registry was called offline, and every node that was silent was",
    evidence: ({ beats, silences }, observed) => {
      const answered = beats.filter(({ answeredAtMs }) => answeredAtMs !== undefined).length;
      return `${answered} of ${beats.length} heartbeats answered, ${offlineEvents(observed).length} times offline; ${silences.length} silences on purpose`;
    },
    problems: (history, observed) => [
      ...offlineEvents(observed).flatMap(({ key, createdAtMs }) => {
        const problem = falseOffline(history, key, createdAtMs, leaseMs);
        return problem === undefined ? [] : [`node ${key} was called offline ${problem}`];
      }),
      ...unnoticed(history, observed),
      ...takenDownTogether(history, observed, leaseMs),
    ],
  };
}

function offlineEvents({ outbox }: Observed) {
  return outbox.filter(({ type }) => type.endsWith(".NodeOffline"));
}

function unnoticed({ silences }: History, observed: Observed): string[] {
  const calls = offlineEvents(observed);
  const isNoticed = ({ nodeId, fromMs, toMs }: Silence) =>
    calls.some(({ key, createdAtMs }) => key === nodeId && createdAtMs >= fromMs && createdAtMs <= toMs);
  return silences
    .filter((silence) => !isNoticed(silence))
    .map(({ nodeId, fromMs, toMs }) => `node ${nodeId} was silent for ${toMs - fromMs} ms and never called offline`);
}

const FEWEST_OF_A_MASS = 5;
/** One may be in maintenance, for which no sweep stops, and one more in between. */
const MOST_TAKEN_DOWN = 2;

/**
 * Most of the network was cut off at once for longer than a lease: from half a lease on, when their silence shows, until
 * they are back, the sweep has to stand still.
 */
function takenDownTogether(history: History, observed: Observed, leaseMs: number): string[] {
  const near = new Set(history.beats.map(({ nodeId }) => nodeId)).difference(history.farNodes);
  const silenced = new Set(history.silences.map(({ nodeId }) => nodeId));
  const cuts = history.disturbances.filter(
    ({ what, target }) => target === "edge" && (what === "cut" || what === "freeze"),
  );
  return cuts.flatMap(({ fromMs, toMs }) => {
    const taken = offlineEvents(observed).filter(
      ({ key, createdAtMs }) =>
        near.has(key) && !silenced.has(key) && createdAtMs > fromMs + (2 / 3) * leaseMs && createdAtMs < toMs,
    );
    const isMass = near.size >= FEWEST_OF_A_MASS && taken.length > MOST_TAKEN_DOWN;
    return isMass ? [`${taken.length} of ${near.size} nodes that were cut off at once were called offline`] : [];
  });
}

function falseOffline(history: History, nodeId: string, atMs: number, leaseMs: number): string | undefined {
  const own = history.beats.filter((beat) => beat.nodeId === nodeId);
  const answered = own.findLast(({ sentAtMs, answeredAtMs }) => answeredAtMs !== undefined && sentAtMs < atMs);
  // A heartbeat that was answered counts from when it was sent: the registry cannot have seen it earlier.
  if (answered !== undefined && atMs - answered.sentAtMs < leaseMs - STORED_LAG_MS) {
    return `${atMs - answered.sentAtMs} ms after a heartbeat that was answered`;
  }
  const fromMs = atMs - 2 * leaseMs;
  if (wasCutOff(history, nodeId, fromMs, atMs) || !triedAllAlong(own, atMs - leaseMs, atMs, leaseMs)) return undefined;
  return "though it was trying all along and nothing kept it from the registry but the registry itself";
}

/** Whether something between this node and the registry was broken. */
function wasCutOff({ disturbances, farNodes }: History, nodeId: string, fromMs: number, toMs: number): boolean {
  const ways = new Set([farNodes.has(nodeId) ? "edge-far" : "edge"]);
  const breaks = ({ what, target }: Disturbance) =>
    ways.has(target) && ["cut", "freeze", "reset", "delay"].includes(what);
  return disturbances.some((one) => breaks(one) && one.fromMs < toMs && one.toMs > fromMs);
}

function triedAllAlong(own: readonly Beat[], fromMs: number, toMs: number, leaseMs: number): boolean {
  const sent = own.map(({ sentAtMs }) => sentAtMs).filter((sentAtMs) => sentAtMs >= fromMs && sentAtMs <= toMs);
  const times = [fromMs, ...sent, toMs];
  // One heartbeat waits up to 3 s for its answer before the next is sent.
  return times.every((time, index) => time - (times[index - 1] ?? fromMs) <= Math.max(4_500, leaseMs / 2));
}

/** An older stream may be answered until its epoch meets the next flush, and the registry may be frozen in between. */
const SUPERSEDED_WITHIN_MS = 8_000;

export const oneStreamPromise: Promised = {
  number: 5,
  title: "one stream per node: the newer ends the older",
  evidence: ({ supersessions }) => {
    const ended = supersessions.filter(({ oldEnd }) => oldEnd === "Aborted").length;
    return `${supersessions.length} streams were superseded, ${ended} ended with ABORTED, the others by faults`;
  },
  problems: ({ supersessions }) =>
    supersessions.flatMap(({ nodeId, newFirstAnswerAtMs, oldLastAnswerAtMs }) => {
      const besideMs = oldLastAnswerAtMs - newFirstAnswerAtMs;
      return besideMs > SUPERSEDED_WITHIN_MS ? [`node ${nodeId}: two streams were answered for ${besideMs} ms`] : [];
    }),
};
