import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type DescMethod, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { NodeDirectoryService } from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import type { DevFile } from "../dev/start/dev-file.ts";
import { type EdgeTarget, edgeTarget, mainTarget, type Target } from "./fixtures/attack-target.ts";
import { type Cast, createCast, enrollNode } from "./fixtures/cast.ts";
import { type ControlPlane, startControlPlane } from "./fixtures/control-plane.ts";
import { fittingRequest } from "./fixtures/fitting-requests.ts";
import { http1Attacks } from "./fixtures/http1-attacks.ts";
import { http2Attacks } from "./fixtures/http2-attacks.ts";
import { payloadAttacks } from "./fixtures/payload-attacks.ts";
import { type Holdings, holdingsOf, watchPeak } from "./fixtures/process-watch.ts";
import { admittedCaller } from "./fixtures/rpc-callers.ts";
import { tlsAttacks } from "./fixtures/tls-attacks.ts";
import { until } from "./fixtures/until.ts";

// What no honest client sends, at both ports of the real services. Honest clients go on meanwhile; nothing dies, and
// what the attackers leave behind is forgotten.

// Above what the process held before: 128 MiB of bodies on the main port, 288 MB of messages that one node has begun on
// the node edge, and what the runtime keeps of memory that it has used once.
const MOST_MB = 700;
const LEFT_HANDLES = 20;

let plane: ControlPlane;
let network: DevFile;
let cast: Cast;
let main: Target;
let edge: EdgeTarget;
let pids: readonly number[];
let before: ReadonlyMap<number, Holdings>;
const stack = new AsyncDisposableStack();
beforeAll(async () => {
  plane = stack.use(await startControlPlane());
  network = await plane.devFile();
  cast = stack.use(await createCast(network));
  main = mainTarget(network.nodeRegistryUrl, "/decentrastore.node_registry.v1.EnrollmentService/EnrollNode");
  edge = edgeTarget(network.nodeEdgeAddress, cast.ca, await enrollNode(network));
  pids = [network.pids.auth, network.pids.userQuota, network.pids.nodeRegistry];
  for (let round = 0; round < 20; round += 1) await expectHonestService();
  before = new Map(pids.map((pid) => [pid, holdingsOf(pid)]));
}, 120_000);
afterAll(() => stack.disposeAsync(), 120_000);

const honestMethods: readonly DescMethod[] = [
  AuthService.method.getCurrentUser,
  UserQuotaService.method.getQuota,
  NodeDirectoryService.method.listNodes,
  NodeService.method.heartbeat,
];

async function expectHonestService(): Promise<void> {
  const outcomes = await Promise.all(
    honestMethods.map((method) => {
      const request = toBinary(method.input, fittingRequest(method.input, cast.known).message);
      return cast.callers.call(admittedCaller(method), method, request);
    }),
  );
  expect(outcomes.map(({ code, message }) => `${code} ${message}`.trim())).toEqual(honestMethods.map(() => "OK"));
}

/** Honest calls are answered for as long as the attack goes on, and after it. */
async function withstand(attack: Promise<void>): Promise<void> {
  using watch = watchPeak(network.pids.nodeRegistry);
  let isOver = false;
  const ended = attack.finally(() => {
    isOver = true;
  });
  while (!isOver) {
    await expectHonestService();
    await Promise.race([ended, sleep(20)]);
  }
  await ended;
  await expectHonestService();
  expect(watch.peakMb - (before.get(network.pids.nodeRegistry)?.residentMb ?? 0)).toBeLessThan(MOST_MB);
}

describe("the main port withstands", () => {
  test.each([...http1Attacks, ...http2Attacks, ...payloadAttacks])("$name", ({ run }) => withstand(run(main)), 120_000);

  test("a thousand connections that say nothing", () => withstand(idle(main, 1_000)), 120_000);
});

describe("the node edge withstands", () => {
  test.each([...http2Attacks, ...payloadAttacks])("$name", ({ run }) => withstand(run(edge)), 120_000);
  test.each(tlsAttacks)("$name", ({ run }) => withstand(run(edge)), 120_000);
});

async function idle(target: Target, count: number): Promise<void> {
  const sockets = await Promise.all(Array.from({ length: count }, () => target.tcp()));
  await sleep(500);
  for (const socket of sockets) socket.destroy();
}

test("afterwards the same processes run, and hold what they held before", async () => {
  expect((await plane.devFile()).pids).toEqual(network.pids);
  for (const pid of pids) {
    const held = before.get(pid) ?? { residentMb: 0, handles: 0 };
    // What never ends its request is cut after a minute.
    await until(`process ${pid} has let go`, 100_000, () => holdingsOf(pid).handles <= held.handles + LEFT_HANDLES);
    expect(holdingsOf(pid).residentMb - held.residentMb).toBeLessThan(MOST_MB);
  }
}, 330_000);

test("nothing of it was the server's fault", async () => {
  const logs = await Promise.all(
    ["auth", "user-quota", "node-registry"].map((name) => readFile(join(plane.home, "logs", `${name}.log`), "utf8")),
  );
  const faults = logs
    .flatMap((log) => log.split("\n"))
    .filter((line) => /"level":"fatal"|"code":"(INTERNAL|UNKNOWN)"/.test(line));
  expect(faults).toEqual([]);
});
