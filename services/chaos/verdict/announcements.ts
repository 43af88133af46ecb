import type { Answer, History } from "../history.ts";
import type { Observed } from "../observed.ts";
import { countBy } from "./promise.ts";

/** Changes that were acknowledged and whose events, or entries, are to be counted or compared one by one. */
export function unannounced(history: History, observed: Observed): string[] {
  return [
    ...thresholds(observed),
    ...limits(history, observed),
    ...revocations(history, observed),
    ...confirmations(observed),
  ];
}

/** How often each thing was acknowledged to be in one state and then in another; what came in between is not clear. */
export function clearChanges(
  steps: readonly { readonly of: string; readonly state: string; readonly answer: Answer }[],
): Map<string, number> {
  const before = new Map<string, string>();
  const changed: string[] = [];
  for (const { of, state, answer } of steps) {
    const previous = before.get(of);
    if (answer === "acknowledged" && previous !== undefined && previous !== state) changed.push(of);
    if (answer === "acknowledged") before.set(of, state);
    else before.delete(of);
  }
  return countBy(changed, (of) => of);
}

const PERCENTS = [80, 90, 100];
const REARMED_BELOW = 5;

/** The ledger says which thresholds were crossed when: each crossing is told once, and none that was not. */
function thresholds({ balances, told }: Observed): string[] {
  const due = new Map<string, number[]>();
  const crossed = new Map<string, Set<number>>();
  for (const { userId, used, limit } of balances) {
    const reaches = (percent: number) => used > 0n && used * 100n >= limit * BigInt(percent);
    const known = crossed.get(userId) ?? new Set();
    crossed.set(userId, known);
    for (const percent of PERCENTS) {
      if (reaches(percent) && !known.has(percent)) due.set(userId, [...(due.get(userId) ?? []), percent]);
      if (reaches(percent)) known.add(percent);
      else if (!reaches(percent - REARMED_BELOW)) known.delete(percent);
    }
  }
  const heard = new Map<string, number[]>();
  for (const { userId, percent } of told.thresholds) heard.set(userId, [...(heard.get(userId) ?? []), percent]);
  const users = new Set([...due.keys(), ...heard.keys()]);
  return [...users].flatMap((userId) => {
    const [wanted, found] = [(due.get(userId) ?? []).join(), (heard.get(userId) ?? []).join()];
    return wanted === found ? [] : [`user ${userId}: thresholds told were ${found || "none"}, not ${wanted || "none"}`];
  });
}

/** Each acknowledged change of a limit is in the ledger, and one that only repeats what holds adds nothing. */
function limits({ limits: asked }: History, { balances }: Observed): string[] {
  const entries = countBy(
    balances.filter(({ kind }) => kind === "quota_change"),
    ({ userId }) => userId,
  );
  const users = new Set(asked.map(({ userId }) => userId));
  const unclear = new Set(
    asked.flatMap(({ userId, answer, tries }) => (answer === "unknown" || tries > 1 ? [userId] : [])),
  );
  const first = [...users].map((of) => ({ of, state: "as it was", answer: "acknowledged" as const }));
  const done = asked.filter(({ answer, tries }) => answer !== "refused" || tries > 1);
  const steps = done.map(({ userId, bytes, answer }) => ({ of: userId, state: String(bytes), answer }));
  const changes = clearChanges([...first, ...steps]);
  return [...users].flatMap((userId) => {
    const found = entries.get(userId) ?? 0;
    const wanted = changes.get(userId) ?? 0;
    const isRight = unclear.has(userId) ? found >= wanted : found === wanted;
    return isRight ? [] : [`user ${userId}: ${found} entries for ${wanted} changes of the limit`];
  });
}

function revocations({ revocations: asked }: History, { outbox }: Observed): string[] {
  const told = countBy(
    outbox.filter(({ type }) => type.endsWith(".UserSessionsRevoked")),
    ({ key }) => key,
  );
  const acknowledged = asked.filter(({ answer }) => answer === "acknowledged");
  return [...countBy(acknowledged, ({ userId }) => userId)].flatMap(([userId, times]) => {
    const events = told.get(userId) ?? 0;
    return events < times ? [`user ${userId}: ${events} events for ${times} revocations of sessions`] : [];
  });
}

/** A node's confirmation of a chunk is told once, however often it is reported, until it is lost; and the quorum once for each life of a chunk. */
function confirmations({ told, chunks }: Observed): string[] {
  const nameOf = ({ chunkHash, generation, nodeId }: Observed["told"]["lost"][number]) =>
    `${chunkHash} ${generation} by ${nodeId}`;
  const losses = countBy(told.lost, nameOf);
  const repeated = [...countBy(told.stored, nameOf)].flatMap(([what, count]) => {
    const most = 1 + (losses.get(what) ?? 0);
    return count > most ? [`ChunkStored of ${what}: ${count} times, not ${most}`] : [];
  });
  const quorate = told.stored.filter(({ reachedQuorum }) => reachedQuorum);
  // Two thirds of what is wanted, and no replica less.
  const early = quorate
    .filter(({ confirmedReplicas, wantedReplicas }) => confirmedReplicas !== Math.ceil((2 * wantedReplicas) / 3))
    .map((one) => `chunk ${one.chunkHash}: quorum at ${one.confirmedReplicas} of ${one.wantedReplicas} replicas`);
  const quorums = countBy(quorate, ({ chunkHash, generation }) => `${chunkHash} ${generation}`);
  const wrong = chunks.flatMap(({ chunkHash, generation, hasQuorum }) => {
    const [wanted, found] = [hasQuorum ? 1 : 0, quorums.get(`${chunkHash} ${generation}`) ?? 0];
    return wanted === found ? [] : [`the quorum of chunk ${chunkHash} was told ${found} times, not ${wanted}`];
  });
  return [...repeated, ...early, ...wrong];
}
