import { failpoint } from "#platform/failpoints/failpoints.ts";
import { markPublished, type Stored } from "./relay.store.ts";
import type { SessionContext } from "./relay-options.ts";

const MARK_LIMIT = 2_000;
const MARK_AFTER_MS = 10;

/** What the broker has stored, until the database knows. */
export interface RelayMarks {
  add(stored: Stored): void;
  /** Marks what is due, or everything: one statement at a time, and what is stored meanwhile goes into the next. */
  mark(what: "due" | "all"): void;
  /** When something is due, on the monotonic clock. */
  nextAt(): number;
  readonly isBusy: boolean;
  /** Another relay leads: nothing more is marked. */
  readonly isDeposed: boolean;
  /** When the running statement has ended. */
  settled(): Promise<void>;
}

export function createRelayMarks(
  { options, lease, metrics }: SessionContext,
  on: { readonly marked: (ids: readonly bigint[]) => void; readonly change: () => void },
): RelayMarks {
  const now = () => options.clock.monotonicMs();
  let waiting: Stored[] = [];
  let notBefore = 0;
  let marking: Promise<void> | undefined;
  let isDeposed = false;

  async function markRows(batch: Stored[]): Promise<void> {
    try {
      failpoint("relay.before-mark");
      if (!(await markPublished(options.pool, options.schema, lease.epoch, batch))) {
        isDeposed = true;
        return;
      }
      failpoint("relay.after-mark");
      on.marked(batch.map(({ row }) => row.id));
      for (const [stream, stored] of Map.groupBy(batch, ({ stream }) => stream)) {
        metrics.published.inc({ stream }, stored.length);
        metrics.streamFull.set({ stream }, 0);
      }
    } catch (error) {
      options.log.warn({ err: error }, "could not mark published events");
      waiting = [...batch, ...waiting];
      notBefore = now() + 200 + Math.random() * 300;
    }
  }

  return {
    add: (stored) => {
      if (waiting.length === 0) notBefore = Math.max(notBefore, now() + MARK_AFTER_MS);
      waiting.push(stored);
    },
    mark: (what) => {
      const isDue = what === "all" || waiting.length >= MARK_LIMIT || now() >= notBefore;
      if (marking !== undefined || waiting.length === 0 || !isDue) return;
      marking = markRows(waiting.splice(0, MARK_LIMIT)).finally(() => {
        marking = undefined;
        on.change();
      });
    },
    nextAt: () => (waiting.length > 0 && marking === undefined ? notBefore : Infinity),
    get isBusy() {
      return waiting.length > 0 || marking !== undefined;
    },
    get isDeposed() {
      return isDeposed;
    },
    settled: async () => await marking,
  };
}
