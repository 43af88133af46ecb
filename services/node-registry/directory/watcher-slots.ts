import { Code, type HandlerContext } from "@connectrpc/connect";
import { CallContext } from "#platform/rpc/call-context.ts";
import { callerOf } from "#platform/rpc/caller.ts";
import type { RpcError } from "#platform/rpc/errors.ts";
import type { Clock } from "#platform/time/clock.ts";
import { registryError } from "../errors.ts";

const MAX_WATCHERS = 5_000;
const MAX_PER_CALLER = 500;
const STALL_MS = 30_000;

export interface WatcherSlot extends Disposable {
  /** The transport has taken the message before. */
  pulled(): void;
  /** There is nothing to take. */
  waits(): void;
}

/** Bounds how many watchers there are, in all and per caller, and ends those that do not read. */
export interface WatcherSlots {
  /** Throws TOO_MANY_STREAMS where all are taken; disposing gives the slot back. */
  take(context: HandlerContext, stalled: () => RpcError): WatcherSlot;
}

export function createWatcherSlots(clock: Clock, stallMs = STALL_MS): WatcherSlots {
  const byCaller = new Map<string, number>();
  let taken = 0;

  function claim(name: string): void {
    const own = byCaller.get(name) ?? 0;
    if (taken >= MAX_WATCHERS || own >= MAX_PER_CALLER) {
      throw registryError(Code.ResourceExhausted, "TOO_MANY_STREAMS", "too many watchers are open", {
        retryAfterMs: 5_000,
      });
    }
    taken += 1;
    byCaller.set(name, own + 1);
  }

  function giveBack(name: string): void {
    taken -= 1;
    const left = (byCaller.get(name) ?? 1) - 1;
    if (left === 0) byCaller.delete(name);
    else byCaller.set(name, left);
  }

  return {
    take: (context, stalled) => {
      const name = nameOf(context);
      claim(name);
      let sentAtMs: number | undefined;
      // A reader that takes nothing leaves its generator suspended for ever: it is ended from outside.
      const watchdog = setInterval(() => {
        if (sentAtMs === undefined || clock.monotonicMs() - sentAtMs < stallMs) return;
        if (context instanceof CallContext) context.abort(stalled());
      }, stallMs / 3);
      watchdog.unref();
      return {
        pulled: () => {
          sentAtMs = clock.monotonicMs();
        },
        waits: () => {
          sentAtMs = undefined;
        },
        [Symbol.dispose]: () => {
          clearInterval(watchdog);
          giveBack(name);
        },
      };
    },
  };
}

function nameOf(context: HandlerContext): string {
  const caller = callerOf(context);
  if (caller.kind === "user") return caller.userId;
  return caller.kind === "service" ? caller.clientId : caller.kind;
}
