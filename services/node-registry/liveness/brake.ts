const MAX_SHARE = 0.3;
const MIN_NODES = 5;

/** What a sweep found, without nodes in maintenance, whose silence is no failure. */
export interface Overdue {
  /** Silent for a whole lease and not yet called offline: what the sweep would take down. */
  readonly expired: number;
  /** Silent for half a lease or more, those included: they fell silent together with the expired ones. */
  readonly silent: number;
  /** Taken down within the last lease and not back. */
  readonly recentlyOffline: number;
  /** Online and suspect nodes, and those recently taken down. */
  readonly online: number;
}

/**
 * Whether so many fell silent at once that the fault is rather ours or the network's: more than 30 % and at least 5. Nodes
 * that are cut off together expire within one heartbeat interval of each other, not in one sweep, so those that are
 * about to expire and those that just did are counted too.
 */
export function isMassFailure(found: Overdue): boolean {
  const together = found.silent + found.recentlyOffline;
  return found.expired > 0 && together >= MIN_NODES && together > MAX_SHARE * found.online;
}
