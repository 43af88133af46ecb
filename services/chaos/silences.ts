import { eventually } from "./eventually.ts";
import type { History, Silence } from "./history.ts";
import type { LoadNode } from "./workload/load-node.ts";

/**
 * Of a system that is whole: a lease, the grace of a registry that has just started, and a sweep take 40 s together; the
 * rest is for a machine that has other things to do.
 */
const NOTICE_WITHIN_MS = 180_000;

/** Lets a node fall silent; undefined where it is silent already. */
export function beginSilence(history: History, node: LoadNode): Silence | undefined {
  if (node.isSilent()) return undefined;
  node.fallSilent();
  const silence = { nodeId: node.nodeId, fromMs: Date.now(), seenBefore: history.seen.length, toMs: Infinity };
  history.silences.push(silence);
  return silence;
}

/** The node speaks again if the subscriber was told that it is offline; otherwise it goes on being silent. */
export function endIfNoticed(history: History, node: LoadNode, silence: Silence): boolean {
  const { nodeId, seenBefore } = silence;
  const subject = `decentrastore.node.offline.${nodeId}`;
  // What was told before may be told again, as after the broker's folder was wiped.
  const old = new Set(history.seen.slice(0, seenBefore).map(({ eventId }) => eventId));
  const isNew = history.seen.slice(seenBefore).some((one) => one.subject === subject && !old.has(one.eventId));
  if (!isNew) return false;
  silence.toMs = Date.now();
  node.speak();
  return true;
}

/** Ends what is left of them: now that nothing disturbs the system, each must soon be noticed. */
export async function endSilences(history: History, nodes: ReadonlyMap<string, LoadNode>): Promise<void> {
  const open = history.silences.filter(({ toMs }) => toMs === Infinity);
  // Whoever is not noticed in that time is left to the verdict.
  await eventually(NOTICE_WITHIN_MS, async () => {
    const waiting = open.filter((silence) => {
      const node = nodes.get(silence.nodeId);
      return silence.toMs === Infinity && node !== undefined && !endIfNoticed(history, node, silence);
    });
    return waiting.length === 0 ? undefined : `${waiting.length} silent nodes were not called offline`;
  });
  for (const silence of open) {
    nodes.get(silence.nodeId)?.speak();
    silence.toMs = Math.min(silence.toMs, Date.now());
  }
}
