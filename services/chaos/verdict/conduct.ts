import type { CleanStop, History, Refusal } from "../history.ts";
import { countBy, type Promised } from "./promise.ts";

export const credentialsPromise: Promised = {
  number: 6,
  title: "credentials leak nothing, and the right ones work",
  evidence: ({ failedLogins, finalLogins, deadTokens }) =>
    `${failedLogins.length} failed logins compared, ${finalLogins.size} users signed in at the end, tokens of ${deadTokens.length} ended sessions tried again`,
  problems: ({ failedLogins, sessionComplaints }) => {
    const admitted = failedLogins.filter(({ answer }) => answer === undefined).map(({ kind }) => `admitted: ${kind}`);
    const answers = new Set(failedLogins.flatMap(({ answer }) => answer ?? []));
    const unlike = answers.size > 1 ? [`failed logins are told apart: ${[...answers].join(" | ")}`] : [];
    return [...admitted, ...unlike, ...sessionComplaints];
  },
};

const MOST_RESIDENT_MIB = 1_024;

export const boundsPromise: Promised = {
  number: 7,
  title: "bounded everything: clear refusals, no internal errors, no crashes, memory bounded",
  evidence: ({ calls }, { residentMiB }) => {
    const count = (answer: string) =>
      [...calls].reduce((sum, [name, times]) => sum + (name.endsWith(` ${answer}`) ? times : 0), 0);
    const memory = [...residentMiB].map(([name, mib]) => `${name} ${mib} MiB`).join(", ");
    return `${count("acknowledged")} calls acknowledged, ${count("refused")} refused, ${count("unknown")} unknown; ${memory}`;
  },
  problems: ({ refusals }, { residentMiB, crashes }) => {
    const counts = countBy(
      refusals.filter(isUnclearRefusal),
      ({ rpc, code, reason, message }) => `${rpc}: ${code} ${reason} ${message}`,
    );
    const heavy = [...residentMiB].filter(([, mib]) => mib > MOST_RESIDENT_MIB);
    return [
      ...crashes,
      ...[...counts].map(([what, times]) => `${times} times ${what}`),
      ...heavy.map(([name, mib]) => `${name} holds ${mib} MiB`),
    ];
  },
};

/** Nothing that a client does is invalid or a reason for these; its own transport makes them of a connection that was cut. */
function isUnclearRefusal({ code, reason, isFromServer }: Refusal): boolean {
  if (reason === "INTERNAL" || reason === "INVALID_FIELD") return true;
  return isFromServer && ["Internal", "Unknown", "DataLoss"].includes(code);
}

/** Of the process's own time: while it is paused it cannot stop. */
const STOP_WITHIN_MS = 25_000;
/** Who was started with failpoints may be killed by them until it ends, for which the faults wait so long. */
const FAILPOINTS_LAST_MS = 120_000;

export const cleanStopPromise: Promised = {
  number: 8,
  title: `a clean stop loses nothing and takes less than ${STOP_WITHIN_MS / 1000} s`,
  evidence: ({ stops }) => {
    const longest = Math.max(0, ...stops.map(({ tookMs }) => tookMs));
    return `${stops.length} clean stops, the longest ${(longest / 1000).toFixed(1)} s`;
  },
  problems: ({ stops, disturbances }) =>
    stops.flatMap((stop) => {
      const { process, tookMs, end } = stop;
      const isClean = end === "exit code 0" || (end === "SIGKILL" && mayBeKilled(stop, disturbances));
      if (!isClean) return [`${process} ended with ${end}`];
      const ownMs = tookMs - pausedMs(stop, disturbances);
      return ownMs > STOP_WITHIN_MS ? [`${process} took ${Math.round(ownMs)} ms to stop`] : [];
    }),
};

/** Of a kill: noted before it is sent, and the end of its victim takes a moment to be heard of. */
const SLACK_MS = 1_000;

/** A kill of the plan may have come into the stop. */
function mayBeKilled({ process, fromMs, tookMs }: CleanStop, disturbances: History["disturbances"]): boolean {
  const untilMs = fromMs + tookMs;
  return disturbances.some(
    (one) =>
      (one.what === "kill" && one.target === process && one.fromMs >= fromMs - SLACK_MS && one.fromMs <= untilMs) ||
      (one.what === "failpoints" && one.fromMs <= untilMs && one.toMs + FAILPOINTS_LAST_MS >= fromMs),
  );
}

function pausedMs({ process, fromMs, tookMs }: CleanStop, disturbances: History["disturbances"]): number {
  const pauses = disturbances.filter(({ what, target }) => what === "pause" && target === process);
  const overlaps = pauses.map((one) => Math.min(one.toMs, fromMs + tookMs) - Math.max(one.fromMs, fromMs));
  return overlaps.reduce((sum, overlap) => sum + Math.max(0, overlap), 0);
}

export const strangersPromise: Promised = {
  number: 9,
  title: "NATS believes no stranger",
  evidence: ({ strangerAttempts }) => `${strangerAttempts} rounds of forging and tampering with the read-only account`,
  problems: ({ strangerSuccesses }) => [...strangerSuccesses],
};
