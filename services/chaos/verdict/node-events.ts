import type { History } from "../history.ts";
import type { Observed, OutboxRow } from "../observed.ts";

const LIVENESS = ["NodeOnline", "NodeSuspect", "NodeOffline"];
/** What may be told after what; a node that has told nothing yet comes online first. */
const FOLLOWERS: ReadonlyMap<string, readonly string[]> = new Map([
  ["", ["NodeOnline"]],
  ["NodeOnline", ["NodeSuspect", "NodeOffline"]],
  ["NodeSuspect", ["NodeOnline", "NodeOffline"]],
  ["NodeOffline", ["NodeOnline"]],
]);

/** Every node's coming was told once, and every change of its liveness: the events follow each other up to how it is now. */
export function nodesUntold({ joined }: History, { outbox, liveness }: Observed): string[] {
  const own = Map.groupBy(outbox, ({ key }) => key);
  return joined.flatMap((nodeId) => {
    const rows = (own.get(nodeId) ?? []).toSorted((a, b) => a.keyVersion - b.keyVersion);
    const names = rows.map(nameOf);
    const comings = names.filter((name) => name === "NodeRegistered").length;
    return [
      ...(comings === 1 ? [] : [`NodeRegistered of ${nodeId}: ${comings} times instead of once`]),
      ...brokenChain(nodeId, names, liveness.get(nodeId) ?? "never_seen"),
    ];
  });
}

function brokenChain(nodeId: string, names: readonly string[], now: string): string[] {
  const problems: string[] = [];
  let before = "";
  for (const name of names.filter((one) => LIVENESS.includes(one))) {
    if (FOLLOWERS.get(before)?.includes(name) !== true)
      problems.push(`node ${nodeId}: ${name} after ${before || "none"}`);
    before = name;
  }
  if (before.toLowerCase() !== `node${now}`)
    problems.push(`node ${nodeId} is ${now}, and ${before || "nothing"} was told`);
  return problems;
}

function nameOf({ type }: OutboxRow): string {
  return type.replace(/^.*\./, "");
}
