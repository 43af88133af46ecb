import { systemClock } from "#platform/time/clock.ts";
import type { StoredChunk } from "./chunk-store.ts";

/** What the registry said of one reported chunk: keep it, or delete it. */
export type Verdict = "keep" | "delete";

export interface ReporterOptions {
  /** One ReportStoredChunks call; the verdicts come in the chunks' order. Throws where the call failed. */
  readonly report: (chunks: readonly StoredChunk[]) => Promise<readonly Verdict[]>;
  readonly remove: (hash: string) => Promise<void>;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

export interface Reporter {
  add(chunk: StoredChunk): void;
  /**
   * They are going to be deleted: reports them no more. Resolves when no report that names them is under way; heard after
   * the deletion, it could confirm a chunk that was assigned here anew.
   */
  withdraw(hashes: readonly string[]): Promise<void>;
  run(): Promise<void>;
}

const mostPerCall = 1000;
const gatherMs = 20; // chunks that arrive together are reported together
const retryMs = { first: 500, most: 15_000 };

/**
 * Reports chunks until the registry has answered for each. A report that fails is repeated with a pause: the registry
 * counts a chunk once, however often it hears of it.
 */
export function createReporter(options: ReporterOptions): Reporter {
  const waiting = new Map<string, StoredChunk>();
  let underWay: Promise<readonly Verdict[]> = Promise.resolve([]);
  let wake = () => {};

  const reportBatch = async (): Promise<void> => {
    const batch = [...waiting.values()].slice(0, mostPerCall);
    underWay = options.report(batch);
    const verdicts = await underWay;
    for (const [index, chunk] of batch.entries()) {
      if (waiting.get(chunk.hash) !== chunk) continue; // it arrived anew meanwhile: its own report tells
      waiting.delete(chunk.hash);
      if (verdicts[index] === "delete") await options.remove(chunk.hash);
    }
  };

  return {
    add: (chunk) => {
      waiting.set(chunk.hash, chunk);
      wake();
    },
    withdraw: async (hashes) => {
      for (const hash of hashes) waiting.delete(hash);
      await Promise.allSettled([underWay]);
    },
    run: async () => {
      let retry = retryMs.first;
      while (!options.signal.aborted) {
        if (waiting.size === 0) {
          await new Promise<void>((resolve) => {
            wake = resolve;
            options.signal.addEventListener("abort", () => resolve(), { once: true });
          });
          await systemClock.sleep(gatherMs, options.signal);
          continue;
        }
        try {
          await reportBatch();
          retry = retryMs.first;
        } catch (error) {
          if (options.signal.aborted) return;
          options.say(`report failed, repeated: ${error instanceof Error ? error.message : String(error)}`);
          await systemClock.sleep(retry * (0.5 + Math.random()), options.signal);
          retry = Math.min(retry * 2, retryMs.most);
        }
      }
    },
  };
}
