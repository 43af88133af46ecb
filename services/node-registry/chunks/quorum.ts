/** Confirmed replicas at which a chunk counts as stored: two thirds of those wanted (1→1, 2→2, 3→2, 4→3, 5→4, 6→4). */
export function quorumOf(wantedReplicas: number): number {
  return Math.floor((2 * wantedReplicas + 2) / 3);
}
