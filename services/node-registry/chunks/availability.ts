/** Whether a node's replicas count as live, and how far the walk has got that makes the chunks follow. */
export interface Availability {
  readonly isAvailable: boolean;
  /** Hex; null where every chunk follows already. */
  readonly walkedTo: string | null;
}

/** By storage_nodes.id, as it is while the rows are locked. */
export type Availabilities = ReadonlyMap<bigint, Availability>;

/**
 * Whether this chunk's live_replicas contain, or must contain, the node's confirmed replica: behind the walk the chunk
 * still follows what was true before it, and the walk will change it when it comes by.
 */
export function countsAsLive(availability: Availability | undefined, chunkHash: string): boolean {
  if (availability === undefined) return true;
  const isWalked = availability.walkedTo === null || chunkHash <= availability.walkedTo;
  return isWalked ? availability.isAvailable : !availability.isAvailable;
}
