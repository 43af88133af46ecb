import { spawn } from "node:child_process";
import { accessSync } from "node:fs";
import type { ClientHttp2Session } from "node:http2";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { StreamHeartbeatsRequestSchema } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { median } from "#platform/testing/median.ts";
import type { TestNode } from "../node-registry/testing/registry-clients.ts";
import { grantEtcdLease, keepAliveMessage } from "./etcd-lease.ts";
import { type LoadResult, type LoadTarget, loadStreams, loadUnary, openSessions, pause } from "./grpc-load.ts";
import { isShort, measured } from "./measured.ts";
import { cpuMicrosOf, createRegistryKit, stopChild, writeTlsFiles } from "./registry-kit.ts";

// Heartbeats per second over mutual TLS, persisted and published, against a bare grpc-js echo and against etcd's
// LeaseKeepAlive (which persists nothing per keep-alive), in turn with the same generator. etcd from ETCD_PATH or the
// PATH (Debian: etcd-server). BENCH_ONLY=stream or unary runs one half; BENCH_NODE_OPTIONS=--cpu-prof goes to the registry.

const CONNECTIONS = 16;
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? (isShort ? 1 : 5));
const times = { warmMs: 1_500, runMs: 3_000 };

await using kit = await createRegistryKit();
const registry = await kit.registry({
  NODE_HEARTBEAT_MIN_INTERVAL: "0",
  NODE_OPTIONS: process.env.BENCH_NODE_OPTIONS ?? "",
});
const nodes = await Promise.all(Array.from({ length: CONNECTIONS }, () => registry.enroll()));
const [first] = nodes;
if (first === undefined) throw new Error("no node");
const echo = await kit.echo(first);
await using cleanup = new AsyncDisposableStack();
const etcd = await startEtcd(first);

interface Contender {
  readonly name: string;
  readonly pid: number;
  run(): Promise<LoadResult>;
}

const heartbeatMessage = createHeartbeatMessages();
const heartbeat = (_connection: number, sequence: number) => heartbeatMessage(sequence);
const service = "/decentrastore.node_registry.v1.NodeService";
const stream = (name: string, address: string, pid: number, path: string, message = heartbeat): Contender => ({
  name,
  pid,
  run: () => withSessions(address, (sessions) => loadStreams(sessions, { path, message, window: 64 }, times)),
});
const unary = (name: string, address: string, pid: number, path: string): Contender => ({
  name,
  pid,
  run: () => withSessions(address, (sessions) => loadUnary(sessions, { path, message: heartbeat, parallel: 4 }, times)),
});

const streams = [
  stream("bare grpc-js echo, stream", echo.address, echo.pid, "/bench.Echo/Stream"),
  stream("StreamHeartbeats", registry.edgeAddress, registry.pid, `${service}/StreamHeartbeats`),
  ...(etcd === undefined
    ? []
    : [
        stream("etcd LeaseKeepAlive", etcd.address, etcd.pid, "/etcdserverpb.Lease/LeaseKeepAlive", () => etcd.message),
      ]),
];
const calls = [
  unary("bare grpc-js echo, unary", echo.address, echo.pid, "/bench.Echo/Unary"),
  unary("Heartbeat, unary", registry.edgeAddress, registry.pid, `${service}/Heartbeat`),
];

const only = process.env.BENCH_ONLY;
for (const group of [...(only === "unary" ? [] : [streams]), ...(only === "stream" ? [] : [calls])]) {
  const rates = new Map<string, number[]>();
  const costs = new Map<string, number[]>();
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const { name, pid, run } of group) {
      const cpuBefore = cpuMicrosOf(pid);
      const { answers, ms } = await run();
      // CPU over warm-up and run, answers over the run only: scaled by the share of time.
      const cpu = ((cpuMicrosOf(pid) - cpuBefore) * times.runMs) / (times.runMs + times.warmMs) / answers;
      rates.set(name, [...(rates.get(name) ?? []), (answers / ms) * 1_000]);
      costs.set(name, [...(costs.get(name) ?? []), cpu]);
      await pause(300);
    }
  }
  if (rates.has("etcd LeaseKeepAlive"))
    measured("heartbeatStream", ratios(rates, "StreamHeartbeats", "etcd LeaseKeepAlive"));
  if (rates.has("Heartbeat, unary"))
    measured("heartbeatUnary", ratios(rates, "Heartbeat, unary", "bare grpc-js echo, unary"));
  const baseline = median(rates.get(group[0]?.name ?? "") ?? []);
  for (const { name } of group) {
    const rate = median(rates.get(name) ?? []);
    const all = (rates.get(name) ?? []).map((value) => Math.round(value / 1_000)).join(", ");
    const cpu = median(costs.get(name) ?? []).toFixed(1);
    console.log(
      `${name.padEnd(28)} ${Math.round(rate).toLocaleString("en").padStart(8)}/s  ratio ${(rate / baseline).toFixed(2)}` +
        `  server CPU ${cpu} µs  (rounds: ${all} k/s)`,
    );
  }
}

function ratios(rates: ReadonlyMap<string, readonly number[]>, ours: string, baseline: string): number[] {
  const base = rates.get(baseline) ?? [];
  return (rates.get(ours) ?? []).map((rate, round) => rate / (base[round] ?? Number.NaN));
}

async function withSessions(
  address: string,
  work: (sessions: ClientHttp2Session[]) => Promise<LoadResult>,
): Promise<LoadResult> {
  const sessions = await openSessions(nodes.map((node) => targetOf(node, address)));
  try {
    return await work(sessions);
  } finally {
    for (const session of sessions) session.destroy();
  }
}

function targetOf(node: TestNode, address: string): LoadTarget {
  return { address, ca: node.ca, certificate: node.certificate, privateKey: node.identity.privateKey };
}

/** Field 1 is the sequence, the rest is the same in every message: encoding must cost the generator nothing. */
function createHeartbeatMessages(): (sequence: number) => Uint8Array {
  const figures = { usedBytes: 123_456_789n, freeBytes: 987_654_321n, chunkCount: 4_711n };
  const rest = toBinary(StreamHeartbeatsRequestSchema, create(StreamHeartbeatsRequestSchema, figures));
  return (sequence) => {
    const head = [8];
    let value = sequence;
    for (; value >= 128; value = Math.floor(value / 128)) head.push((value % 128) + 128);
    head.push(value);
    const message = new Uint8Array(head.length + rest.length);
    message.set(head);
    message.set(rest, head.length);
    return message;
  };
}

async function startEtcd(node: TestNode) {
  const binary = [
    process.env.ETCD_PATH ?? "",
    ...(process.env.PATH ?? "").split(":").map((folder) => join(folder, "etcd")),
  ].find((path) => isThere(path));
  if (binary === undefined) {
    console.log("etcd is not installed: without its comparison (ETCD_PATH, or apt-get install etcd-server)");
    return undefined;
  }
  const { ca, certificate, privateKey } = writeTlsFiles(kit.folder, node);
  const port = 20_000 + Math.floor(Math.random() * 20_000);
  const client = `https://127.0.0.1:${port}`;
  const peer = `http://127.0.0.1:${port + 1}`;
  const child = spawn(
    binary,
    [
      ...["--data-dir", join(kit.folder, "etcd"), "--listen-client-urls", client, "--advertise-client-urls", client],
      ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", `default=${peer}`],
      ...["--trusted-ca-file", ca, "--client-cert-auth", "--cert-file", certificate, "--key-file", privateKey],
      ...["--logger", "zap", "--log-level", "error"],
    ],
    { stdio: ["ignore", "ignore", "ignore"] },
  );
  cleanup.defer(() => stopChild(child));
  const address = `127.0.0.1:${port}`;
  const leaseId = await grantEtcdLease(targetOf(node, address));
  return { address, pid: child.pid ?? 0, message: keepAliveMessage(leaseId) };
}

function isThere(path: string): boolean {
  try {
    accessSync(path);
    return path !== "";
  } catch {
    return false;
  }
}
