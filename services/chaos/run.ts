import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { type Random, randomFrom } from "#platform/testing/random.ts";
import { connectSubscriber } from "../system-tests/fixtures/stream-replay.ts";
import { eventually } from "./eventually.ts";
import { planFaults, processNames } from "./fault-plan.ts";
import { applyFaults } from "./faults.ts";
import { type History, newHistory } from "./history.ts";
import { type Observed, observeDatabase } from "./observed.ts";
import { type Plane, startPlane } from "./plane/plane.ts";
import { residentMiB } from "./plane/process-tree.ts";
import { branch } from "./random.ts";
import { actOnceMore, allOnline, allReady, endFaults, finishWork, unsettled } from "./settle.ts";
import { endSilences } from "./silences.ts";
import { subscribe } from "./subscriber.ts";
import { judge, type Verdict } from "./verdict/judge.ts";
import { beatByCalls, beatOnStreams } from "./workload/beats.ts";
import { runCaretaker } from "./workload/caretaker.ts";
import { createClients } from "./workload/clients.ts";
import { runGateway } from "./workload/gateway.ts";
import { inquire } from "./workload/inquiry.ts";
import { runLimits } from "./workload/limits.ts";
import type { LoadContext, Pace } from "./workload/load-context.ts";
import { joinNode, type LoadNode } from "./workload/load-node.ts";
import { runPeople } from "./workload/people.ts";
import { runReserver } from "./workload/reserver.ts";
import { runStranger } from "./workload/stranger.ts";

export const LEASE_MS = 12_000;

export interface ChaosOptions {
  readonly seed: number;
  readonly durationMs: number;
  readonly nodes: number;
  readonly gateways: number;
  /** What to do to the system; otherwise what the seed says. */
  readonly disturb?: (plane: Plane, history: History, durationMs: number) => Promise<string[]>;
  readonly startStores?: Parameters<typeof startPlane>[0]["startStores"];
  readonly env?: Readonly<Record<string, string>>;
  /** When uploads begin, where neither the seed nor the answers decide it. */
  readonly pace?: Pace;
  readonly say: (line: string) => void;
}

export interface ChaosResult {
  readonly verdicts: readonly Verdict[];
  /** What else was wrong: no rest after the faults, a failover that took too long, growth. */
  readonly unrest: readonly string[];
  /** Where logs and data are; kept where something was broken. */
  readonly folder: string;
}

const settings = {
  NODE_HEARTBEAT_INTERVAL: "1s",
  NODE_LEASE_TTL: `${LEASE_MS}ms`,
  NODE_PROBATION_PERIOD: "0",
  // Each replica is proved once: the work for it then stays as the load is, however long a run.
  PROOF_FIRST_WITHIN: "20s",
  PROOF_INTERVAL: "365d",
  PROOF_ANSWER_WINDOW: "30s",
  PROOF_RETRY_DELAY: "10s",
  // A node that is away for longer is no fault of anybody, and what it held is made anew while it is.
  REPAIR_OFFLINE_AFTER: "15s",
  REPAIR_PENDING_GRACE: "20s",
  REPAIR_TIMEOUT: "30s",
  REPAIR_PAUSE: "1s",
  RECONCILE_INTERVAL: "3s",
};

/** One run: load, faults, rest, verdict. */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { say, seed, durationMs } = options;
  const folder = await mkdtemp(join(tmpdir(), "decentrastore-chaos-"));
  const history = newHistory();
  const random = randomFrom(seed);
  const stack = new AsyncDisposableStack();
  try {
    const { startStores } = options;
    const env = { ...settings, ...options.env };
    const started = { folder, say, stack, env, ...(startStores === undefined ? {} : { startStores }) };
    const plane = await startPlane(started);
    say(`the control plane is up in ${folder}`);
    const loadRandom = branch(random);
    const { context, nodes, endBeats, endLoad } = await startLoad(plane, history, loadRandom, options, stack);
    const disturb = options.disturb ?? plannedFaults(random, nodes, say);
    const unrest = await disturb(plane, history, durationMs);
    say("the faults are over: waiting for the system to come to rest");
    await endLoad();
    await endFaults(plane, history);
    await endSilences(history, nodes);
    unrest.push(...(await comeToRest(plane, context, say)));
    const observed = await observe(plane);
    await endBeats();
    return { verdicts: judge(history, observed, LEASE_MS), unrest, folder };
  } finally {
    await stack.disposeAsync();
  }
}

export async function removeTraces({ folder }: ChaosResult): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}

function plannedFaults(
  random: Random,
  nodes: ReadonlyMap<string, LoadNode>,
  say: (line: string) => void,
): NonNullable<ChaosOptions["disturb"]> {
  return async (plane, history, durationMs) => {
    await applyFaults({ plane, history, nodes, say }, planFaults(random, durationMs), durationMs);
    return [];
  };
}

async function startLoad(
  plane: Plane,
  history: History,
  random: Random,
  options: ChaosOptions,
  stack: AsyncDisposableStack,
) {
  const load = new AbortController();
  const life = new AbortController();
  stack.defer(() => {
    load.abort();
    life.abort();
  });
  const nodes = await joinNodes(plane, history, options.nodes, life.signal);
  const { secrets, stores } = plane;
  const credentials = { adminPassword: secrets.adminPassword, clientSecret: secrets.serviceClients.dev ?? "" };
  const clients = createClients(plane.addresses, credentials);
  const { pace } = options;
  const context: LoadContext = { clients, history, nodes, pace, random: branch(random), signal: load.signal };
  const beating = [...nodes.values()].map((node, index) =>
    (index % 2 === 0 ? beatOnStreams : beatByCalls)(node, { history, random: branch(random), signal: life.signal }),
  );
  const late = await eventually(60_000, () => allOnline(plane, nodes.keys()));
  if (late !== undefined) throw new Error(late);
  const natsUrl = stores.natsUrlOf("subscriber");
  const subscription = await subscribe(natsUrl, history, life.signal);
  const own = (): LoadContext => ({ ...context, random: branch(random) });
  const actors = [
    ...Array.from({ length: 2 }, (_, actor) => runPeople(own(), actor)),
    runCaretaker(own()),
    runReserver(own()),
    runLimits(own()),
    runStranger(natsUrl, history, load.signal),
    ...Array.from({ length: options.gateways }, () => runGateway(own())),
  ];
  options.say(
    `${nodes.size} nodes are online, the load begins (seed ${options.seed}, random() ${random().toFixed(6)})`,
  );
  return {
    context,
    nodes,
    endLoad: async () => {
      load.abort();
      await Promise.all(actors);
    },
    endBeats: async () => {
      life.abort();
      await Promise.all(beating);
      await subscription[Symbol.asyncDispose]();
    },
  };
}

/** Every fourth node reaches the registry by a way of its own. */
async function joinNodes(
  plane: Plane,
  history: History,
  count: number,
  signal: AbortSignal,
): Promise<Map<string, LoadNode>> {
  const nodes = new Map<string, LoadNode>();
  const { addresses, joinToken } = plane;
  for (let index = 0; index < count; index += 1) {
    const isFar = index % 4 === 3;
    const node = await joinNode({
      folder: plane.home.path("nodes"),
      name: `node-${index}`,
      registryUrl: addresses.nodeRegistryUrl,
      edgeUrl: isFar ? addresses.farEdge : addresses.edge,
      joinToken,
      ...{ history, signal },
    });
    nodes.set(node.nodeId, node);
    history.joined.push(node.nodeId);
    if (isFar) history.farNodes.add(node.nodeId);
  }
  return nodes;
}

const SAY_EVERY_MS = 15_000;

/** Bounded: a system that does not come to rest within these times is broken, and the verdicts tell where. */
async function comeToRest(plane: Plane, context: LoadContext, say: (line: string) => void): Promise<string[]> {
  const unready = await eventually(90_000, () => allReady(plane));
  if (unready !== undefined) return [`the services do not get ready: ${unready}`];
  const offline = await eventually(90_000, () => allOnline(plane, context.nodes.keys()));
  await finishWork(context);
  await actOnceMore(context);
  let saidAtMs = performance.now();
  const unrest = await eventually(240_000, async () => {
    const reason = await unsettled(plane, context);
    if (reason !== undefined && performance.now() - saidAtMs > SAY_EVERY_MS) {
      saidAtMs = performance.now();
      say(`not at rest yet: ${reason}`);
    }
    return reason;
  });
  await inquire(context);
  return [offline, unrest].flatMap((reason) =>
    reason === undefined ? [] : [`the system does not come to rest: ${reason}`],
  );
}

const deadLettersSchema = z.object({ state: z.object({ messages: z.number() }).optional() });

async function observe(plane: Plane): Promise<Observed> {
  const connection = await connectSubscriber(plane.stores.natsUrlOf("subscriber"));
  const reply = await connection.request("$JS.API.STREAM.INFO.DEAD_LETTERS", "", { timeout: 5_000 });
  await connection.close();
  return {
    ...(await observeDatabase(plane.stores.operatorUrl)),
    deadLetters: deadLettersSchema.parse(reply.json()).state?.messages ?? 0,
    crashes: [...plane.crashes],
    residentMiB: new Map(
      processNames.filter((name) => name !== "postgres").map((name) => [name, residentMiB(plane.pidOf(name))]),
    ),
  };
}
