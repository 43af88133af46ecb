import type { PlacementCandidate } from "../directory/network-view.ts";

/** What each part of a node's score counts for. They add up to 1. */
export const SCORE_SHARES = { freeSpace: 0.4, reputation: 0.3, responsiveness: 0.2, diversity: 0.1 } as const;

/** Why a node may not get a chunk, whatever its score. */
export type HardRule = "not_in_service" | "not_online" | "not_enough_space";

export interface ScoreParts {
  readonly freeSpace: number;
  readonly reputation: number;
  readonly responsiveness: number;
  readonly diversity: number;
}

/** Bytes that a node can still take: what it reports as free, less what was assigned to it and is not confirmed yet. */
export function roomOf(candidate: PlacementCandidate, assignedBytes: number): number {
  return Math.max(0, candidate.freeBytes - assignedBytes);
}

/** Asked of every node for every chunk. */
export function keepsHardRules(candidate: PlacementCandidate, roomBytes: number, sizeBytes: number): boolean {
  return candidate.state === "in_service" && candidate.liveness === "online" && roomBytes >= sizeBytes;
}

/** All of them: whoever mends one must not find the next only then. */
export function brokenHardRules(candidate: PlacementCandidate, roomBytes: number, sizeBytes: number): HardRule[] {
  const broken: HardRule[] = [];
  if (candidate.state !== "in_service") broken.push("not_in_service");
  if (candidate.liveness !== "online") broken.push("not_online");
  if (roomBytes < sizeBytes) broken.push("not_enough_space");
  return broken;
}

export function scorePartsOf(candidate: PlacementCandidate, roomBytes: number, diversity: number): ScoreParts {
  return {
    freeSpace: unit(roomBytes / Math.max(1, candidate.capacityBytes)),
    reputation: unit(candidate.reputationScore),
    responsiveness: unit(candidate.responsiveness),
    diversity: unit(diversity),
  };
}

export function scoreOf(parts: ScoreParts): number {
  return (
    SCORE_SHARES.freeSpace * parts.freeSpace +
    SCORE_SHARES.reputation * parts.reputation +
    SCORE_SHARES.responsiveness * parts.responsiveness +
    SCORE_SHARES.diversity * parts.diversity
  );
}

/** How many eligible nodes there are, and how many of them (itself included) share the node's subnet and region. */
export interface Neighbours {
  readonly sharingNetwork: number;
  readonly sharingRegion: number;
  readonly total: number;
}

/** 1 for a node alone in its subnet and its region, 0 where every other node shares both. */
export function diversityOf({ sharingNetwork, sharingRegion, total }: Neighbours): number {
  return 1 - (Math.max(0, sharingNetwork - 1) + Math.max(0, sharingRegion - 1)) / (2 * Math.max(1, total - 1));
}

function unit(value: number): number {
  return Number.isFinite(value) ? Math.min(1, Math.max(0, value)) : 0;
}
