import type pg from "pg";
import { errorCodeOf } from "./errors.ts";
import { toSlonikError } from "./slonik-errors.ts";

/** One connection to the server, as long as it lives. */
export interface Link {
  readonly client: pg.Client;
  isDead: boolean;
  /** Its transaction was given up together with it; `pg` keeps the last status of a dead connection. */
  isGivenUp: boolean;
  readonly openedAt: number;
  lastUsedAt: number;
  /** CommandComplete messages so far: with them it is known whether the server ran a statement before it went away. */
  completions: number;
  /** The transaction under way gave itself another statement timeout. */
  isUnbounded: boolean;
  /** Of the session that holds it. */
  onError: (error: Error) => void;
}

/** The connections of a pool that nobody uses at the moment. */
export interface IdleLinks {
  put(link: Link): void;
  takeLatest(): Link | undefined;
  /** The one that was opened first: a pool that shrinks or renews its connections ends that. */
  takeOldest(): Link | undefined;
}

/**
 * The connection that was used last is used next: its server process has the plans, the catalog and the processor caches
 * warm. Slonik itself hands them out in turn, so that a few statements after another each meet a cold process, which costs
 * 10 % of their time; its places in the pool share these connections instead.
 */
export function createIdleLinks(): IdleLinks {
  const links: Link[] = [];
  return {
    put: (link) => void links.push(link),
    takeLatest: () => links.pop(),
    takeOldest: () => {
      const oldest = links.reduce((first, link, at) => (link.openedAt < (links[first]?.openedAt ?? 0) ? at : first), 0);
      return links.splice(oldest, 1)[0];
    },
  };
}

export function watchLink(client: pg.Client): Link {
  const link: Link = {
    client,
    isDead: false,
    isGivenUp: false,
    openedAt: performance.now(),
    lastUsedAt: performance.now(),
    completions: 0,
    isUnbounded: false,
    onError: () => {},
  };
  client.connection.on("commandComplete", () => {
    link.completions += 1;
  });
  client.on("end", () => {
    link.isDead = true;
  });
  client.on("error", (error) => {
    link.isDead = true;
    // The next statement finds out about a lost connection by itself. Idling in a transaction is the caller's own doing.
    if (errorCodeOf(error) === "25P03") link.onError(toSlonikError(error));
  });
  return link;
}

export function inTransaction({ client, isGivenUp }: Link): boolean {
  const status = client.getTransactionStatus();
  return !isGivenUp && (status === "T" || status === "E");
}
