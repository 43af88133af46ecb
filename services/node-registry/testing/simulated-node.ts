import type { BeatStream } from "./beat-stream.ts";
import { openBeats } from "./beat-stream.ts";
import { beat, type TestNode } from "./registry-clients.ts";

/** A node that beats by itself and reconnects, as a real one would; to the first address that answers. */
export interface SimulatedNode extends AsyncDisposable {
  readonly nodeId: string;
  /** Beats to these registries from now on. */
  moveTo(addresses: readonly string[]): void;
  /** Its network is cut: nothing is sent until `reconnect`. */
  cut(): void;
  reconnect(): void;
  answers(): number;
}

export function simulateNode(node: TestNode, addresses: readonly string[], intervalMs: number): SimulatedNode {
  const state = { addresses, isCut: false, answers: 0, sequence: 0 };
  const stop = new AbortController();
  const changed = { now: new AbortController() };

  async function beatOn(stream: BeatStream, reset: AbortSignal): Promise<void> {
    while (!stop.signal.aborted && !state.isCut && !reset.aborted) {
      state.sequence += 1;
      const answer = await Promise.race([
        stream.exchange(beat(state.sequence)),
        lateAnswer(patienceMs(state.addresses)),
      ]);
      if (answer === undefined || "code" in answer) return;
      state.answers += 1;
      await pause(intervalMs * (0.9 + 0.2 * Math.random()), stop.signal, reset);
    }
  }

  async function run(): Promise<void> {
    for (let attempt = 0; !stop.signal.aborted; attempt += 1) {
      const reset = changed.now.signal;
      const address = state.addresses[attempt % state.addresses.length];
      if (!state.isCut && address !== undefined) {
        using client = node.connect(address);
        await beatOn(openBeats(client), reset);
      }
      await pause(intervalMs / 2, stop.signal, reset);
    }
  }

  /** With one address there is nowhere else to go: handshakes again and again would only make a busy machine busier. */
  function patienceMs(from: readonly string[]): number {
    return from.length === 1 ? 30_000 : intervalMs * 5;
  }

  const running = run();
  const change = (apply: () => void) => {
    apply();
    changed.now.abort();
    changed.now = new AbortController();
  };
  return {
    nodeId: node.nodeId,
    answers: () => state.answers,
    moveTo: (next) => change(() => Object.assign(state, { addresses: next })),
    cut: () => change(() => Object.assign(state, { isCut: true })),
    reconnect: () => change(() => Object.assign(state, { isCut: false })),
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
}

/** Ends early with any of the signals. */
function pause(ms: number, ...signals: readonly AbortSignal[]): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    for (const signal of signals) {
      signal.addEventListener(
        "abort",
        () => {
          clearTimeout(timer);
          resolve();
        },
        { once: true },
      );
    }
  });
}

function lateAnswer(ms: number): Promise<undefined> {
  return new Promise((resolve) => {
    setTimeout(() => resolve(undefined), ms).unref();
  });
}
