import pg from "pg";
import { eventually } from "./eventually.ts";
import { streamNames } from "./fault-plan.ts";
import { stopCleanly } from "./faults.ts";
import { type History, isAtWork } from "./history.ts";
import { inParallel } from "./in-parallel.ts";
import { observeDatabase } from "./observed.ts";
import type { Plane } from "./plane/plane.ts";
import { notPurged } from "./verdict/durability.ts";
import { differences, missing } from "./verdict/replicas.ts";
import { ask, pause } from "./workload/ask.ts";
import { setState } from "./workload/caretaker.ts";
import { place, release, reportAll } from "./workload/gateway.ts";
import { moveLimit, restoreLimit, tightUsers } from "./workload/limits.ts";
import type { LoadContext } from "./workload/load-context.ts";
import { deactivate, deleteUser } from "./workload/people.ts";
import { endReservation } from "./workload/reserver.ts";
import { endSessions, signIn } from "./workload/sessions.ts";

/** Of a system that is whole: so many users end sessions, and have their limits moved, that no run goes without. */
const LAST_ACTS = 6;
const FEWEST_TO_LOSE_ONE = 4;

type SettleContext = Pick<LoadContext, "clients" | "history" | "nodes">;

const never = new AbortController().signal;
/** For all calls of the settling together: a system that refuses to answer must not keep the run for ever. */
const FINISH_MS = 300_000;
const START_MS = 120_000;
const serviceNames = ["auth", "user-quota", "node-registry"] as const;

/** Ends all faults, and gives every service a clean start without failpoints. */
export async function endFaults(plane: Plane, history: History): Promise<void> {
  for (const link of Object.values(plane.links)) link.mend();
  plane.setFailpoints("");
  // Who is just being started has the failpoints of that moment, and there is nobody to stop yet.
  await eventually(START_MS, async () => {
    for (const name of serviceNames) process.kill(plane.pidOf(name), 0);
    return allReady(plane);
  });
  await Promise.all(serviceNames.map((name) => stopCleanly({ plane, history }, name)));
}

export async function allReady(plane: Plane): Promise<string | undefined> {
  const probes = plane.opsUrls.map(async (url) => {
    const { ok, status } = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(3_000) });
    return ok ? undefined : `${url}/readyz answers ${status}`;
  });
  return (await Promise.all(probes)).find((problem) => problem !== undefined);
}

/** Every node is called online again. */
export async function allOnline(plane: Plane, nodeIds: Iterable<string>): Promise<string | undefined> {
  const client = new pg.Client({ connectionString: plane.stores.operatorUrl });
  client.on("error", () => {}); // the query that runs into it tells
  await client.connect();
  try {
    const { rows } = await client.query(
      `select encode(node_id, 'hex') as id, liveness from node_registry.storage_nodes n
       join node_registry.node_leases l on l.node_row_id = n.id`,
    );
    const liveness = new Map(rows.map((row) => [String(row.id), String(row.liveness)]));
    const missing = [...nodeIds].filter((id) => liveness.get(id) !== "online");
    return missing.length === 0 ? undefined : `${missing.length} nodes are not online, such as ${missing[0]}`;
  } finally {
    await client.end();
  }
}

/** Brings every call that was left unclear to a definite answer, and every upload to its end. */
export async function finishWork(context: SettleContext): Promise<void> {
  const { history, nodes } = context;
  // Each call is repeated until its answer is definite; the system is whole, so it soon is.
  const patience = { tries: 60, pauseMs: 500, signal: AbortSignal.timeout(FINISH_MS) };
  for (const nodeId of nodes.keys()) await setState(context, nodeId, "in_service");
  const moved = history.users.filter(({ isLimitMoving, deletion }) => isLimitMoving && deletion === undefined);
  await inParallel(8, moved, (user) => restoreLimit(context, user, patience));
  const leaving = history.users.filter(({ deletion }) => deletion === "unknown");
  for (const user of leaving) {
    for (let round = 0; round < 20 && user.deletion === "unknown" && !patience.signal.aborted; round += 1) {
      await deleteUser({ ...context, signal: patience.signal }, user);
    }
  }
  const open = history.uploads.filter(
    ({ placed, isReported, release, user }) =>
      placed !== "refused" && user.deletion === undefined && (!isReported || release === "unknown"),
  );
  await inParallel(8, open, async (upload) => {
    if (upload.release === undefined) {
      // Nodes that were away may have been exchanged since: the placement as it is now counts.
      for (let round = 0; round < 20 && !upload.isReported && !patience.signal.aborted; round += 1) {
        const placed = await place(context, upload, patience);
        if (placed === undefined) return;
        await reportAll(context, upload, placed, patience);
      }
    } else if (upload.release === "unknown") await release(context, upload, patience);
  });
  const held = history.reservations.filter(({ isOver }) => !isOver);
  await inParallel(8, held, (reservation) => endReservation(context, reservation, patience));
  const users = history.users.filter(isAtWork);
  await inParallel(4, users, async (user) => {
    for (const password of user.passwords) {
      const login = () => context.clients.auth.login({ username: user.username, password });
      let outcome = await ask(history, "Login", login);
      for (let tries = 0; tries < 40 && outcome.answer === "unknown" && !patience.signal.aborted; tries += 1) {
        await pause(500, never);
        outcome = await ask(history, "Login", login);
      }
      history.finalLogins.set(user.username, outcome.answer === "acknowledged");
      if (outcome.answer === "acknowledged") break;
    }
  });
}

/** What faults may have left no time for. */
export async function actOnceMore(context: LoadContext): Promise<void> {
  const whole = { ...context, signal: AbortSignal.timeout(FINISH_MS) };
  const users = context.history.users.filter(isAtWork).slice(0, LAST_ACTS);
  await inParallel(2, users, async (user) => {
    await signIn(whole, user);
    await endSessions(whole, user);
  });
  await inParallel(2, tightUsers(context.history).slice(0, LAST_ACTS), (user) => moveLimit(whole, user));
  const [last] = users.slice(-1);
  if (last !== undefined && users.length >= FEWEST_TO_LOSE_ONE) await deactivate(whole, last);
}

/** Whether everything has arrived: events published and seen, charges posted, reservations ended, replicas made. */
export async function unsettled(plane: Plane, { history, nodes }: SettleContext): Promise<string | undefined> {
  const truth = await observeDatabase(plane.stores.operatorUrl);
  history.held.clear();
  for (const { nodeId, holdings } of nodes.values()) {
    for (const chunkHash of holdings.hashes()) history.held.add(`${nodeId} ${chunkHash}`);
  }
  const unpublished = truth.outbox.filter(({ isPublished }) => !isPublished).length;
  if (unpublished > 0) return `${unpublished} events are not published`;
  const seen = new Set(history.seen.map(({ eventId }) => eventId));
  const unseen = truth.outbox.filter(({ eventId }) => !seen.has(eventId));
  if (unseen.length > 0)
    return `${unseen.length} events were not seen in ${streamNames.join(", ")}: ${unseen[0]?.subject}`;
  const usage = new Map(truth.usage.map(({ userId, bytes }) => [userId, bytes]));
  for (const { userId, used, reserved } of truth.accounts) {
    if (used !== (usage.get(userId) ?? 0n)) return `user ${userId}: ${used} charged of ${usage.get(userId) ?? 0n}`;
    if (reserved > 0n) return `user ${userId}: ${reserved} bytes reserved`;
  }
  if (truth.openReservations.length > 0) return `the reservation ${truth.openReservations[0]}`;
  const apart = [...notPurged(history, truth), ...differences(history.held, truth), ...missing(history, truth)];
  return apart[0] === undefined ? undefined : `${apart.length} chunks or replicas are not settled: ${apart[0]}`;
}
