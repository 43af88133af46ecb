import type { Random } from "#platform/testing/random.ts";
import type { History } from "../history.ts";
import type { Clients } from "./clients.ts";
import type { LoadNode } from "./load-node.ts";

/** When one gateway begins uploads: from a moment on (of performance.now()), one each interval. */
export interface Pace {
  intervalMs: number;
  fromMs: number;
}

/** What every actor of the load works with. */
export interface LoadContext {
  readonly clients: Clients;
  readonly history: History;
  readonly nodes: ReadonlyMap<string, LoadNode>;
  /** The actor's own, out of the seed: what it chooses; when it does depends on when the system answers. */
  readonly random: Random;
  /** Uploads begin at these times, whether or not those before have ended; otherwise as the seed and the answers say. */
  readonly pace: Pace | undefined;
  /** Fires when the load ends; actors finish what they are at. */
  readonly signal: AbortSignal;
}
