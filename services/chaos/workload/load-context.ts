import type { Random } from "#platform/testing/random.ts";
import type { History } from "../history.ts";
import type { Clients } from "./clients.ts";
import type { LoadNode } from "./load-node.ts";

/** What every actor of the load works with. */
export interface LoadContext {
  readonly clients: Clients;
  readonly history: History;
  readonly nodes: ReadonlyMap<string, LoadNode>;
  /** Not the seed's: which call comes next depends on what the last one was answered, and when. */
  readonly random: Random;
  /** Fires when the load ends; actors finish what they are at. */
  readonly signal: AbortSignal;
}
