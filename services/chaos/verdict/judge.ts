import type { History } from "../history.ts";
import type { Observed } from "../observed.ts";
import { boundsPromise, cleanStopPromise, credentialsPromise, strangersPromise } from "./conduct.ts";
import { durabilityPromise } from "./durability.ts";
import { eventsPromise } from "./events.ts";
import { livenessPromise, oneStreamPromise, ownWordPromise } from "./nodes.ts";
import { quotaPromise } from "./quota.ts";
import { replicasPromise } from "./replicas.ts";

export interface Verdict {
  readonly number: number;
  readonly title: string;
  readonly evidence: string;
  readonly problems: readonly string[];
}

/** Compares the checker's own record with what the system says in the end; it asks nothing and changes nothing. */
export function judge(history: History, observed: Observed, leaseMs: number): Verdict[] {
  const promises = [
    durabilityPromise,
    eventsPromise,
    quotaPromise,
    ownWordPromise,
    livenessPromise(leaseMs),
    oneStreamPromise,
    credentialsPromise,
    boundsPromise,
    cleanStopPromise,
    strangersPromise,
    replicasPromise,
  ];
  return promises.map(({ number, title, evidence, problems }) => ({
    number,
    title,
    evidence: evidence(history, observed),
    problems: problems(history, observed),
  }));
}
