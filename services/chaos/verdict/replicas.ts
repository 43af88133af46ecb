import { type History, isGivenBack } from "../history.ts";
import type { Observed } from "../observed.ts";
import { countBy, type Promised } from "./promise.ts";

/** All nodes of a run are honest, so none may ever be found wanting; what was lost on the way is made anew. */
export const replicasPromise: Promised = {
  number: 10,
  title: "honest nodes are believed, hold what the registry counts, and replace what was lost",
  evidence: ({ calls, held, located }, { outbox }) => {
    const events = countBy(outbox, ({ type }) => type.replace(/^.*\./, ""));
    const proofs = calls.get("SubmitStorageProof acknowledged") ?? 0;
    const [lost, repaired] = [events.get("ChunkLost") ?? 0, events.get("ChunkRepaired") ?? 0];
    return `${proofs} proofs, ${lost} replicas called lost, ${repaired} made anew, ${held.size} held by nodes in the end, ${located.size} chunks located`;
  },
  problems: (history, observed) => [
    ...history.proofComplaints,
    ...observed.punishments.map((what) => `an honest node was found wanting: ${what}`),
    ...differences(history.held, observed),
    ...missing(history, observed),
    ...misled(history),
  ],
};

/** Where the nodes' own word and the registry's differ, of chunks that nobody released. */
export function differences(
  held: History["held"],
  { chunks, replicas }: Pick<Observed, "chunks" | "replicas">,
): string[] {
  const released = new Set(chunks.flatMap(({ chunkHash, isReleased }) => (isReleased ? [chunkHash] : [])));
  const isLiving = (replica: string) => !released.has(replica.split(" ")[1] ?? "");
  return [
    ...[...held.difference(replicas)].filter(isLiving).map((replica) => `held and not counted: ${replica}`),
    ...[...new Set(replicas).difference(held)].filter(isLiving).map((replica) => `counted and not held: ${replica}`),
  ];
}

/** Chunks with fewer replicas than wanted, however they lost them. */
export function missing({ uploads }: Pick<History, "uploads">, { replicas }: Pick<Observed, "replicas">): string[] {
  const counts = countBy(replicas, (replica) => replica.split(" ")[1] ?? "");
  const whole = uploads.filter((upload) => upload.isReported && !isGivenBack(upload));
  return whole.flatMap((upload) =>
    upload.chunks.flatMap(({ chunkHash }) => {
      const count = counts.get(chunkHash) ?? 0;
      return count < upload.replicas ? [`chunk ${chunkHash} has ${count} of ${upload.replicas} replicas`] : [];
    }),
  );
}

/** Clients are sent to all nodes that hold a chunk, and to no other. */
function misled({ uploads, held, located }: History): string[] {
  const holders = new Map<string, string[]>();
  for (const replica of held) {
    const [nodeId = "", chunkHash = ""] = replica.split(" ");
    holders.set(chunkHash, [...(holders.get(chunkHash) ?? []), nodeId]);
  }
  const whole = uploads.filter((upload) => upload.isReported && !isGivenBack(upload));
  return whole.flatMap((upload) =>
    upload.chunks.flatMap(({ chunkHash }) => {
      const [found, wanted] = [located.get(chunkHash) ?? [], holders.get(chunkHash) ?? []];
      const isRight = new Set(found).symmetricDifference(new Set(wanted)).size === 0;
      return isRight ? [] : [`chunk ${chunkHash}: clients are sent to ${found.length} nodes, ${wanted.length} hold it`];
    }),
  );
}
