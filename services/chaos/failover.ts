import pg from "pg";
import { z } from "zod";
import { connectSubscriber } from "../system-tests/fixtures/stream-replay.ts";
import { eventually } from "./eventually.ts";
import { streamNames } from "./fault-plan.ts";
import type { History } from "./history.ts";
import { startLink } from "./link.ts";
import { type NatsCluster, startNatsCluster } from "./plane/nats-cluster.ts";
import type { Plane } from "./plane/plane.ts";
import { type PostgresPair, startPostgresPair } from "./plane/postgres-pair.ts";
import { loginOf, type startSingleStores, throughPort } from "./plane/stores.ts";
import type { ChaosOptions } from "./run.ts";
import { allReady } from "./settle.ts";
import { pause } from "./workload/ask.ts";

/** After the new primary takes writes, every service must have acknowledged a call that writes. */
const RECOVERY_MS = 10_000;
const serviceNames = ["auth", "user-quota", "node-registry"] as const;
/** Of each service a call that writes and that the load makes all the time. */
const writes = ["Login acknowledged", "PlaceChunks acknowledged", "SetNodeState acknowledged"] as const;
const streamInfo = z.object({ config: z.object({ num_replicas: z.number() }).optional() });
const never = new AbortController().signal;

/** A broker of three servers and a database of two, and what happens to them; nothing else is disturbed. */
export function failoverDrill(say: (line: string) => void): Required<Pick<ChaosOptions, "startStores" | "disturb">> {
  let parts: { readonly cluster: NatsCluster; readonly pair: PostgresPair } | undefined;
  const startStores: typeof startSingleStores = async ({ home, secrets }, stack) => {
    const pair = stack.use(await startPostgresPair(home.path("postgres")));
    const cluster = stack.use(await startNatsCluster(home.path("nats"), secrets.natsPasswords));
    parts = { cluster, pair };
    const links = {
      postgres: stack.use(await startLink(pair.primary.port)),
      nats: stack.use(await startLink(cluster.portOf(0))),
    };
    const operatorUrl = throughPort(pair.primary.url, links.postgres.port);
    return {
      operatorUrl,
      operatorEnvironmentOf: (service) => loginOf(service, operatorUrl, secrets),
      environmentOf: (service) => ({
        ...loginOf(service, operatorUrl, secrets),
        NATS_URL: cluster.urlOf(service),
        NATS_STREAM_REPLICAS: String(cluster.size),
      }),
      natsUrlOf: (user) => throughPort(cluster.urlOf(user).split(",")[0] ?? "", links.nats.port),
      links,
      pidOf: (name) => (name === "nats" ? cluster.pidOf(2) : pair.standby.pid),
    };
  };
  const disturb = async (plane: Plane, history: History, durationMs: number) => {
    if (parts === undefined) throw new Error("the stores have not started");
    const pids = serviceNames.map((name) => plane.pidOf(name));
    const single = await eventually(60_000, () => missingReplicas(plane, parts?.cluster.size ?? 0));
    const problems = [
      ...(single === undefined ? [] : [`the services did not make their streams with replicas: ${single}`]),
      ...(await loseBrokers(parts.cluster, plane, durationMs, say)),
      ...(await loseDatabase(parts.pair, plane, history, say)),
    ];
    await pause(durationMs / 4, never);
    const restarted = serviceNames.filter((name, index) => plane.pidOf(name) !== pids[index]);
    return [...problems, ...restarted.map((name) => `${name} did not recover without a restart`)];
  };
  return { startStores, disturb };
}

/** Streams that are not kept as often as the services were told to keep them. */
async function missingReplicas(plane: Plane, wanted: number): Promise<string | undefined> {
  const connection = await connectSubscriber(plane.stores.natsUrlOf("subscriber"));
  try {
    for (const stream of streamNames) {
      const reply = await connection.request(`$JS.API.STREAM.INFO.${stream}`, "", { timeout: 5_000 });
      const replicas = streamInfo.parse(reply.json()).config?.num_replicas;
      if (replicas !== wanted) return `${stream} has ${replicas ?? "no"} replicas`;
    }
    return undefined;
  } finally {
    await connection.close();
  }
}

/** One server, then another, so that two of three are away; then both return. */
async function loseBrokers(
  cluster: NatsCluster,
  plane: Plane,
  durationMs: number,
  say: (line: string) => void,
): Promise<string[]> {
  await pause(durationMs / 8, never);
  say("killing the first nats-server: two of three are left");
  await cluster.kill(0);
  plane.links.nats.leadTo(cluster.portOf(2));
  await pause(durationMs / 8, never);
  const stuck = await eventually(30_000, () => unpublished(plane, 3_000));
  say("killing the second: no quorum is left");
  await cluster.kill(1);
  await pause(durationMs / 8, never);
  say("the first returns: quorum again");
  await cluster.start(0);
  const late = await eventually(60_000, () => unpublished(plane, 3_000));
  say("the second returns");
  await cluster.start(1);
  return [
    ...(stuck === undefined ? [] : [`with two of three brokers events wait: ${stuck}`]),
    ...(late === undefined ? [] : [`after the quorum returned events wait: ${late}`]),
  ];
}

/** What waits in an outbox for longer than this. */
async function unpublished(plane: Plane, ageMs: number): Promise<string | undefined> {
  const client = new pg.Client({ connectionString: plane.stores.operatorUrl });
  client.on("error", () => {}); // the query that runs into it tells
  await client.connect();
  try {
    const waiting = ["auth", "user_quota", "node_registry"].map(
      (schema) => `select created_at from ${schema}.outbox where published_at is null`,
    );
    const { rows } = await client.query(
      `select count(*)::int as count from (${waiting.join(" union all ")}) as waiting
       where created_at < now() - make_interval(secs => $1)`,
      [ageMs / 1_000],
    );
    const count = Number(rows[0]?.count);
    return count === 0 ? undefined : `${count} events are older than ${ageMs} ms and not published`;
  } finally {
    await client.end();
  }
}

async function loseDatabase(
  pair: PostgresPair,
  plane: Plane,
  history: History,
  say: (line: string) => void,
): Promise<string[]> {
  say("killing the primary: the standby is promoted");
  await pair.failOver();
  plane.links.postgres.leadTo(pair.standby.port);
  const promotedAt = performance.now();
  const before = new Map(writes.map((call) => [call, history.calls.get(call) ?? 0]));
  say("the address leads to the new primary");
  const late = await eventually(60_000, async () => {
    const waiting = writes.find((call) => (history.calls.get(call) ?? 0) <= (before.get(call) ?? 0));
    return waiting === undefined ? await allReady(plane) : `no ${waiting} since`;
  });
  const tookMs = Math.round(performance.now() - promotedAt);
  say(`every service writes again after ${tookMs} ms`);
  if (late !== undefined) return [`the services do not recover from the failover: ${late}`];
  return tookMs > RECOVERY_MS ? [`the services needed ${tookMs} ms after the failover`] : [];
}
