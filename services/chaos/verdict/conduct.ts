import type { History } from "../history.ts";
import { countBy, type Promised } from "./promise.ts";

export const credentialsPromise: Promised = {
  number: 6,
  title: "credentials leak nothing, and the right ones work",
  evidence: ({ failedLogins, finalLogins }) =>
    `${failedLogins.length} failed logins compared, ${finalLogins.size} users signed in at the end`,
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
    // Without a reason it was not our code that answered, but the client's own transport.
    const internal = refusals.filter(({ reason }) => reason === "INTERNAL" || reason === "INVALID_FIELD");
    const counts = countBy(internal, ({ rpc, reason, message }) => `${rpc}: ${reason} ${message}`);
    const heavy = [...residentMiB].filter(([, mib]) => mib > MOST_RESIDENT_MIB);
    return [
      ...crashes,
      ...[...counts].map(([what, times]) => `${times} times ${what}`),
      ...heavy.map(([name, mib]) => `${name} holds ${mib} MiB`),
    ];
  },
};

/** The promise is 25 s of the service's own time; a fault may have held the process up besides. */
const STOP_WITHIN_MS = 31_000;

export const cleanStopPromise: Promised = {
  number: 8,
  title: "a clean stop loses nothing and takes less than 25 s",
  evidence: ({ stops }) => {
    const longest = Math.max(0, ...stops.map(({ tookMs }) => tookMs));
    return `${stops.length} clean stops, the longest ${(longest / 1000).toFixed(1)} s`;
  },
  problems: ({ stops }: History) =>
    stops.flatMap(({ process, tookMs, end }) => {
      // A kill of the plan may have come into the stop.
      const isClean = end === "exit code 0" || end === "SIGKILL";
      if (!isClean) return [`${process} ended with ${end}`];
      return tookMs > STOP_WITHIN_MS ? [`${process} took ${Math.round(tookMs)} ms to stop`] : [];
    }),
};

export const strangersPromise: Promised = {
  number: 9,
  title: "NATS believes no stranger",
  evidence: ({ strangerAttempts }) => `${strangerAttempts} rounds of forging and tampering with the read-only account`,
  problems: ({ strangerSuccesses }) => [...strangerSuccesses],
};
