import { type History, isGivenBack, ownChunks, type UploadRecord } from "../history.ts";
import type { Observed } from "../observed.ts";
import type { Promised } from "./promise.ts";

/** Not a numbered rule of its own: what all of them are for. */
export const durabilityPromise: Promised = {
  number: 0,
  title: "nothing that was acknowledged is missing: users, passwords, uploads, chunks, states",
  evidence: (history) => {
    const users = history.users.filter(({ registered }) => registered === "acknowledged").length;
    const deleted = history.users.filter(({ deletion }) => deletion === "acknowledged").length;
    const uploads = history.uploads.filter(({ placed }) => placed === "acknowledged").length;
    const states = history.nodeStates.filter(({ answer }) => answer === "acknowledged").length;
    return `${users} users (${deleted} deleted again), ${uploads} uploads, ${history.confirmed.size} replicas, ${states} node states were acknowledged`;
  },
  problems: (history, observed) => [
    ...lostUsers(history, observed),
    ...lostUploads(history, observed),
    ...lostReplicas(history, observed),
    ...lostStates(history, observed),
    ...lostLimits(history, observed),
    ...notPurged(history, observed),
  ],
};

function lostUsers({ users, finalLogins }: History, observed: Observed): string[] {
  const found = new Map(observed.users.map((user) => [user.userId, user]));
  return users.flatMap(({ userId, username, registered, deactivation, deletion }) => {
    if (registered !== "acknowledged" || userId === undefined) return [];
    const user = found.get(userId);
    if (deletion !== undefined) {
      return deletion === "acknowledged" && user !== undefined ? [`user ${userId} was deleted and is there`] : [];
    }
    if (user?.username !== username) return [`user ${userId} (${username}) is missing`];
    if (deactivation === "acknowledged" && user.isActive) return [`user ${userId} is active again`];
    if (finalLogins.get(username) === false) return [`user ${userId} cannot sign in with the acknowledged password`];
    return [];
  });
}

function lostUploads({ uploads }: History, observed: Observed): string[] {
  const released = new Map(observed.chunks.map(({ chunkHash, isReleased }) => [chunkHash, isReleased]));
  return uploads.flatMap((upload) => {
    if (upload.placed !== "acknowledged" || upload.user.deletion !== undefined) return [];
    const state = observed.uploads.get(upload.uploadId);
    if (state === undefined) return [`upload ${upload.uploadId} is missing`];
    if (upload.isReported && state !== "completed") return [`upload ${upload.uploadId} is ${state}, not completed`];
    return ownChunks(upload).flatMap(({ chunkHash }) => lostChunk(upload, chunkHash, released.get(chunkHash)));
  });
}

function lostChunk({ release }: UploadRecord, chunkHash: string, isReleased: boolean | undefined): string[] {
  if (isReleased === undefined) return [`chunk ${chunkHash} is missing`];
  if (release === undefined && isReleased) return [`chunk ${chunkHash} was released though nobody asked`];
  if (release === "acknowledged" && !isReleased) return [`the release of chunk ${chunkHash} was lost`];
  return [];
}

function lostReplicas({ confirmed, uploads }: History, { replicas }: Observed): string[] {
  const givenBack = new Set(
    uploads.flatMap((upload) => (isGivenBack(upload) ? ownChunks(upload).map(({ chunkHash }) => chunkHash) : [])),
  );
  return [...confirmed].flatMap((replica) => {
    const [nodeId, chunkHash = ""] = replica.split(" ");
    const isLost = !replicas.has(replica) && !givenBack.has(chunkHash);
    return isLost ? [`the replica of ${chunkHash} on ${nodeId} was acknowledged and is missing`] : [];
  });
}

/** What deleted users leave behind goes, whatever state it was in. */
export function notPurged({ uploads }: Pick<History, "uploads">, { chunks }: Pick<Observed, "chunks">): string[] {
  const living = new Set(chunks.flatMap(({ chunkHash, isReleased }) => (isReleased ? [] : [chunkHash])));
  const ofDeleted = uploads.filter(({ user }) => user.deletion === "acknowledged");
  return ofDeleted.flatMap(({ userId, chunks: own }) =>
    own.flatMap(({ chunkHash }) =>
      living.has(chunkHash) ? [`chunk ${chunkHash} of the deleted user ${userId} is not released`] : [],
    ),
  );
}

function lostStates({ nodeStates }: History, observed: Observed): string[] {
  const last = new Map(nodeStates.map((change) => [change.nodeId, change]));
  return [...last.values()].flatMap(({ nodeId, state, answer }) => {
    const found = observed.nodeStates.get(nodeId);
    return answer === "acknowledged" && found !== state ? [`node ${nodeId} is ${found}, not ${state}`] : [];
  });
}

function lostLimits({ users, limits }: History, { accounts }: Observed): string[] {
  const last = new Map(limits.map((change) => [change.userId, change]));
  const found = new Map(accounts.map(({ userId, limit }) => [userId, limit]));
  return users.flatMap(({ userId = "", deletion }) => {
    const change = last.get(userId);
    if (change?.answer !== "acknowledged" || deletion !== undefined) return [];
    const limit = found.get(userId);
    return limit === change.bytes ? [] : [`the limit of user ${userId} is ${limit}, not ${change.bytes}`];
  });
}
