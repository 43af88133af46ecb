import { Code, ConnectError } from "@connectrpc/connect";
import type { NodeCommand } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import type { Random } from "#platform/testing/random.ts";
import { digestBytes } from "../../dev/sample-node/digest.ts";
import type { Beat, History } from "../history.ts";
import { pause, refusalOf } from "./ask.ts";
import { type LoadNode, NODE_CAPACITY_GB } from "./load-node.ts";

export const BEAT_MS = 1_000;
const ANSWER_MS = 3_000;
/** How long an older stream is watched beside the newer one. */
const WATCH_OLD_MS = 12_000;

interface Answered {
  readonly commands: readonly NodeCommand[];
}

const figures = ({ holdings }: LoadNode, sequence: bigint) => {
  const { usedBytes, chunkCount, digest } = holdings.figures();
  const freeBytes = BigInt(NODE_CAPACITY_GB) * 2n ** 30n - usedBytes;
  return { sequence, usedBytes, freeBytes, chunkCount, chunkDigest: digestBytes(digest) };
};

export interface Beating {
  readonly history: History;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/** Beats one by one, each in a call of its own. */
export async function beatByCalls(node: LoadNode, { history, random, signal }: Beating): Promise<void> {
  for (let sequence = 1n; !signal.aborted; sequence += 1n) {
    await node.speech(signal);
    try {
      await recorded(node, history, () => node.client.heartbeat(figures(node, sequence), { timeoutMs: ANSWER_MS }));
    } catch {
      // Recorded as unanswered: what that means is the verdict's business.
    }
    await pause(BEAT_MS * (0.8 + 0.4 * random()), signal);
  }
}

/** Beats on a stream, opened again when it is lost; now and then a second stream takes over from the first. */
export async function beatOnStreams(node: LoadNode, { history, random, signal }: Beating): Promise<void> {
  const watching: Promise<void>[] = [];
  while (!signal.aborted) {
    await node.speech(signal);
    if (signal.aborted) break;
    let stream = openStream(node, history);
    let lives = 8 + Math.floor(random() * 12);
    try {
      while (!signal.aborted && !node.isSilent()) {
        await stream.beat();
        lives -= 1;
        if (lives === 0) {
          const old = stream;
          stream = openStream(node, history);
          await stream.beat();
          watching.push(watchSuperseded(node, history, old, signal));
          lives = Infinity;
        }
        await pause(BEAT_MS * (0.8 + 0.4 * random()), signal);
      }
    } catch {
      // Lost, or superseded itself: the next one is opened.
    }
    stream.close();
    await pause(300 * random(), signal);
  }
  await Promise.all(watching);
}

async function watchSuperseded(node: LoadNode, history: History, old: Stream, signal: AbortSignal): Promise<void> {
  const newFirstAnswerAtMs = Date.now();
  let oldLastAnswerAtMs = newFirstAnswerAtMs;
  let oldEnd = "open";
  const until = newFirstAnswerAtMs + WATCH_OLD_MS;
  while (!signal.aborted && !node.isSilent() && Date.now() < until) {
    try {
      await old.beat();
      oldLastAnswerAtMs = Date.now();
    } catch (error) {
      oldEnd = Code[ConnectError.from(error).code];
      break;
    }
    await pause(BEAT_MS, signal);
  }
  old.close();
  history.supersessions.push({ nodeId: node.nodeId, newFirstAnswerAtMs, oldLastAnswerAtMs, oldEnd });
}

interface Stream {
  /** Resolves with the answer's arrival; throws when the stream is over or silent. */
  beat(): Promise<void>;
  close(): void;
}

function openStream(node: LoadNode, history: History): Stream {
  const closed = new AbortController();
  let next = Promise.withResolvers<bigint>();
  let sequence = 0n;
  async function* requests() {
    while (!closed.signal.aborted) {
      const value = await next.promise;
      next = Promise.withResolvers();
      yield figures(node, value);
    }
  }
  const answers = node.client.streamHeartbeats(requests(), { signal: closed.signal })[Symbol.asyncIterator]();
  const close = () => closed.abort();
  return {
    close,
    beat: () =>
      recorded(node, history, async () => {
        sequence += 1n;
        next.resolve(sequence);
        const silence = setTimeout(close, ANSWER_MS);
        try {
          const answer = await answers.next();
          if (answer.done) throw new ConnectError("the stream ended", Code.Unavailable);
          return answer.value;
        } finally {
          clearTimeout(silence);
        }
      }),
  };
}

async function recorded(node: LoadNode, history: History, call: () => Promise<Answered>): Promise<void> {
  const beat: Beat = { nodeId: node.nodeId, sentAtMs: Date.now(), answeredAtMs: undefined };
  history.beats.push(beat);
  try {
    const { commands } = await call();
    beat.answeredAtMs = Date.now();
    node.obey(commands);
  } catch (error) {
    history.refusals.push(refusalOf("Heartbeat", error));
    throw error;
  }
}
