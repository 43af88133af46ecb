/** The subnets that have able nodes, by region. Looked through again and again, and rarely to its end. */
export type Spread<K> = Iterable<readonly [region: K, networks: Iterable<K>]>;

/** What the replicas that there are stand in already. */
export interface Held<K> {
  readonly regions: ReadonlySet<K>;
  readonly networks: ReadonlySet<K>;
}

/** How many more replicas, up to `enough`, can share neither subnet nor region: a matching of regions with subnets. */
export function mostDifferent<K>(spread: Spread<K>, held: Held<K>, enough: number): number {
  // The region that a subnet is matched with, as the subnets that it could have instead.
  const matched = new Map<K, Iterable<K>>();
  // What one region could not get, no other gets until there is another match.
  const tried = new Set<K>();
  const match = (networks: Iterable<K>): boolean => {
    for (const network of networks) {
      if (held.networks.has(network) || tried.has(network)) continue;
      tried.add(network);
      const other = matched.get(network);
      if (other !== undefined && !match(other)) continue;
      matched.set(network, networks);
      return true;
    }
    return false;
  };
  for (const [region, networks] of spread) {
    if (matched.size >= enough) break;
    if (!held.regions.has(region) && match(networks)) tried.clear();
  }
  return matched.size;
}

/**
 * Whether as many of the missing replicas as before can be different once the first of them stands in this subnet and
 * region: one after the other by weight alone would take nodes that leave nobody different for the rest.
 */
export function keepsVariety<K>(
  spread: Spread<K>,
  held: Held<K>,
  next: { readonly region: K; readonly network: K },
  missing: number,
): boolean {
  const rest = missing - 1;
  if (rest <= 0) return true;
  const then = {
    regions: new Set([...held.regions, next.region]),
    networks: new Set([...held.networks, next.network]),
  };
  const left = mostDifferent(spread, then, rest);
  return left === rest || left >= mostDifferent(spread, held, missing) - 1;
}
