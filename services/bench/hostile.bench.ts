import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type DescMethod, toBinary } from "@bufbuild/protobuf";
import { z } from "zod";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { NodeDirectoryService } from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { type Cast, createCast, enrollNode } from "../system-tests/fixtures/cast.ts";
import { startControlPlane } from "../system-tests/fixtures/control-plane.ts";
import { fittingRequest } from "../system-tests/fixtures/fitting-requests.ts";
import { admittedCaller } from "../system-tests/fixtures/rpc-callers.ts";
import { isShort, measured } from "./measured.ts";
import { residentBytesOf } from "./registry-kit.ts";

// What honest clients feel of hostile ones: calls to all three services and the node edge at a fixed rate, latency from
// the moment at which each was due, in turn without and under attack. The attacks are those of the system tests, all of
// them, over and over, besides ten thousand connections that are kept open.

const CALLS_PER_SECOND = 50;
const rounds = isShort ? 2 : 3;
const secondsPerPhase = isShort ? 6 : 12;
const idleConnections = isShort ? 1_000 : 10_000;

const honestMethods: readonly DescMethod[] = [
  AuthService.method.getCurrentUser,
  UserQuotaService.method.getQuota,
  NodeDirectoryService.method.getNode,
  NodeService.method.heartbeat,
];

interface Phase {
  readonly p50: number;
  readonly p99: number;
  readonly failed: number;
}

await using plane = await startControlPlane();
const network = await plane.devFile();
using cast = await createCast(network);
const attacker = await startAttacker();
await phase(3); // warm-up
const ratios: number[] = [];
for (let round = 1; round <= rounds; round += 1) {
  const calm = await phase(secondsPerPhase);
  attacker.send("attack");
  await sleep(2_000);
  const attacked = await phase(secondsPerPhase);
  attacker.send("rest");
  const registryMb = residentBytesOf(network.pids.nodeRegistry) / 1e6;
  ratios.push(attacked.p99 / calm.p99);
  console.log(
    `round ${round}: p50 ${calm.p50.toFixed(1)} ms, p99 ${calm.p99.toFixed(1)} ms; under attack p50 ${attacked.p50.toFixed(1)} ms, ` +
      `p99 ${attacked.p99.toFixed(1)} ms; registry ${registryMb.toFixed()} MB; failed ${calm.failed} and ${attacked.failed}`,
  );
  if (calm.failed + attacked.failed > 0) process.exitCode = 1;
  await sleep(3_000); // what the last attack left is over
}
attacker.send("count");
const [{ done }] = z.tuple([z.object({ done: z.int() })]).parse((await once(attacker, "message")).slice(0, 1));
console.log(`${done} attacks`);
attacker.disconnect();
measured("hostileLatency", ratios, isShort ? "1,000 idle connections" : undefined);

/** Calls at a fixed rate, whether or not those before have been answered. */
async function phase(seconds: number): Promise<Phase> {
  const latencies: number[] = [];
  let failed = 0;
  const start = performance.now();
  const calls: Promise<void>[] = [];
  for (let index = 0; index < seconds * CALLS_PER_SECOND; index += 1) {
    const dueAt = start + (index * 1_000) / CALLS_PER_SECOND;
    await sleep(Math.max(0, dueAt - performance.now()));
    const method = honestMethods[index % honestMethods.length];
    if (method === undefined) continue;
    const call = callHonestly(cast, method).then((isOk) => {
      latencies.push(performance.now() - dueAt);
      if (!isOk) failed += 1;
    });
    calls.push(call);
  }
  await Promise.all(calls);
  latencies.sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.floor(latencies.length * share)] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99), failed };
}

async function callHonestly({ callers, known }: Cast, method: DescMethod): Promise<boolean> {
  const request = toBinary(method.input, fittingRequest(method.input, known).message);
  const { code, message } = await callers.call(admittedCaller(method), method, request);
  if (code !== "OK") console.log(`${method.name}: ${code} ${message}`);
  return code === "OK";
}

async function startAttacker(): Promise<ChildProcess> {
  const config = {
    mainUrl: network.nodeRegistryUrl,
    mainPath: "/decentrastore.node_registry.v1.EnrollmentService/EnrollNode",
    edgeAddress: network.nodeEdgeAddress,
    ca: cast.ca,
    node: await enrollNode(network),
    idleConnections,
  };
  const child = fork(join(import.meta.dirname, "hostile-attacker.ts"), [JSON.stringify(config)]);
  await once(child, "spawn");
  return child;
}
