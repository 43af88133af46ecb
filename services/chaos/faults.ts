import { rm } from "node:fs/promises";
import { connect } from "nats";
import { sendSignal } from "../dev/start/processes.ts";
import type { Fault } from "./fault-plan.ts";
import type { Disturbance, History } from "./history.ts";
import type { Plane } from "./plane/plane.ts";
import { beginSilence, endIfNoticed } from "./silences.ts";
import { pause } from "./workload/ask.ts";
import type { LoadNode } from "./workload/load-node.ts";

/** So much may still come into a stream that is called full: lowering the limit must not push messages out. */
const SLACK_BYTES = 20_000;

interface Faulty {
  readonly plane: Plane;
  readonly history: History;
  readonly nodes: ReadonlyMap<string, LoadNode>;
  readonly say: (line: string) => void;
}

/** Does to the system what the plan says, each at its time; resolves when all of them are over. */
export async function applyFaults(faulty: Faulty, plan: readonly Fault[], durationMs: number): Promise<void> {
  const startedAt = performance.now();
  const underWay: Promise<void>[] = [];
  const never = new AbortController().signal;
  for (const fault of plan) {
    await pause(fault.atMs - (performance.now() - startedAt), never);
    // A machine that is too slow for the plan does less of it.
    if (performance.now() - startedAt > durationMs) break;
    faulty.say(`${(fault.atMs / 1000).toFixed(1)} s: ${fault.kind} ${fault.target} ${fault.lastsMs || ""}`);
    underWay.push(applyFault(faulty, fault));
  }
  await Promise.all(underWay);
}

async function applyFault(faulty: Faulty, fault: Fault): Promise<void> {
  const { plane, history } = faulty;
  const disturbance: Disturbance = {
    what: fault.kind,
    target: String(fault.target),
    fromMs: Date.now(),
    toMs: Infinity,
  };
  history.disturbances.push(disturbance);
  const end = await begin(faulty, fault);
  await pause(fault.lastsMs, new AbortController().signal);
  await end?.();
  if (fault.kind === "failpoints") plane.setFailpoints("");
  disturbance.toMs = Date.now();
}

type End = () => void | Promise<void>;

async function begin(faulty: Faulty, fault: Fault): Promise<End | undefined> {
  const { plane } = faulty;
  switch (fault.kind) {
    case "kill":
      sendSignal(plane.pidOf(fault.target), "SIGKILL");
      return undefined;
    case "pause":
      return await plane.pause(fault.target);
    case "restart":
      await stopCleanly(faulty, fault.target);
      return undefined;
    case "wipe":
      await wipeJetStream(plane);
      return undefined;
    case "silence":
      return silenceOne(faulty, fault.target);
    case "fill":
      return await fillStream(plane, fault.target);
    case "failpoints":
      // The services that run now end, and their successors have them.
      plane.setFailpoints(fault.target);
      for (const name of ["auth", "user-quota", "node-registry"] as const) sendSignal(plane.pidOf(name), "SIGKILL");
      return () => {
        plane.setFailpoints("");
        for (const name of ["auth", "user-quota", "node-registry"] as const) sendSignal(plane.pidOf(name), "SIGKILL");
      };
    case "delay":
      plane.links[fault.target].delay(250);
      return () => plane.links[fault.target].mend();
    case "cut":
      plane.links[fault.target].cut();
      return () => plane.links[fault.target].mend();
    case "freeze":
      plane.links[fault.target].freeze();
      return () => plane.links[fault.target].mend();
    case "reset":
      plane.links[fault.target].reset();
      return undefined;
  }
}

/** Its end is put off until it was noticed, for which the other faults may leave no time: then to the end of them all. */
function silenceOne({ nodes, history }: Faulty, share: number): End | undefined {
  const node = [...nodes.values()][Math.floor(share * nodes.size)];
  const silence = node === undefined ? undefined : beginSilence(history, node);
  if (node === undefined || silence === undefined) return undefined;
  return () => void endIfNoticed(history, node, silence);
}

/** SIGTERM; what the supervisor starts afterwards is the next process. */
export async function stopCleanly(
  { plane, history }: Pick<Faulty, "plane" | "history">,
  name: "auth" | "user-quota" | "node-registry",
): Promise<void> {
  const { pid, exited } = plane.service(name);
  const fromMs = Date.now();
  const startedAt = performance.now();
  sendSignal(pid, "SIGTERM");
  const end = await exited;
  history.stops.push({ process: name, fromMs, tookMs: performance.now() - startedAt, end });
}

/** The broker's data goes away under it, as by a lost disk; it finds an empty folder when it starts again. */
async function wipeJetStream(plane: Plane): Promise<void> {
  const pid = plane.pidOf("nats");
  sendSignal(pid, "SIGSTOP"); // it writes nothing while its folder goes
  await rm(plane.home.path("nats", "jetstream"), { recursive: true, force: true });
  sendSignal(pid, "SIGKILL");
}

/** The stream takes no more than it has, until the end. */
async function fillStream(plane: Plane, stream: string): Promise<End | undefined> {
  const withStreams = async <T>(work: (streams: Streams) => Promise<T>): Promise<T | undefined> => {
    const url = new URL(plane.stores.natsUrlOf("operator"));
    try {
      const connection = await connect({
        servers: url.host,
        user: url.username,
        pass: decodeURIComponent(url.password),
      });
      try {
        return await work((await connection.jetstreamManager({ checkAPI: false })).streams);
      } finally {
        await connection.close();
      }
    } catch {
      return undefined; // the broker is away, or the stream: another fault is at work
    }
  };
  const limit = await withStreams(async (streams) => {
    const { config, state } = await streams.info(stream);
    await streams.update(stream, { max_bytes: state.bytes + SLACK_BYTES });
    return config.max_bytes;
  });
  if (limit === undefined) return undefined;
  return async () => {
    // As long as it takes: the limit of a stream that was made anew meanwhile is the right one already.
    for (let attempt = 0; attempt < 100; attempt += 1) {
      const isDone = await withStreams(async (streams) => {
        await streams.update(stream, { max_bytes: limit });
        return true;
      });
      if (isDone) return;
      await pause(300, new AbortController().signal);
    }
  };
}

type Streams = Awaited<ReturnType<Awaited<ReturnType<typeof connect>>["jetstreamManager"]>>["streams"];
