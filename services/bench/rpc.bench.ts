import { fork } from "node:child_process";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { create, toBinary } from "@bufbuild/protobuf";
import { StringValueSchema } from "@bufbuild/protobuf/wkt";
import { z } from "zod";
import { median } from "#platform/testing/median.ts";
import { createTestCa } from "../platform/testing/test-ca.ts";
import { type LoadResult, type LoadTarget, loadStreams, loadUnary, openSessions, pause } from "./grpc-load.ts";
import { cpuMicrosOf, residentBytesOf, stopChild } from "./registry-kit.ts";

// What the policy around a handler costs: the node edge (identity, access, deadline, error mapping, log, metrics) against
// bare grpc-js with the same TLS, codec and echo, in the same process and in turn. And what idle connections hold.

const CONNECTIONS = 8;
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3);
const IDLE = Number(process.env.BENCH_IDLE ?? 1_000);
const PAYLOAD_BYTES = 50;
const times = { warmMs: 1_000, runMs: 2_500 };
const TARGETS = { unary: 0.7, stream: 0.7 };

const ca = await createTestCa();
const [server, node] = await Promise.all([ca.server(), ca.node()]);
const child = fork(new URL("rpc-server.ts", import.meta.url), { stdio: "inherit" });
await using cleanup = new AsyncDisposableStack();
cleanup.defer(() => stopChild(child));
child.send({ certificate: server.certificate, privateKey: server.privateKey, clientCas: [ca.certificate] });
const [message] = await once(child, "message");
const ports = z.object({ bare: z.int(), edge: z.int(), main: z.int() }).parse(message);
const pid = child.pid ?? 0;

const payload = toBinary(StringValueSchema, create(StringValueSchema, { value: "x".repeat(PAYLOAD_BYTES) }));
const kinds = {
  unary: (port: number) => run(port, (sessions) => loadUnary(sessions, { ...load("Unary"), parallel: 8 }, times)),
  stream: (port: number) => run(port, (sessions) => loadStreams(sessions, { ...load("Bidi"), window: 64 }, times)),
};

// First, because memory that load has left behind hides what connections take.
await idleMemory("node edge", "secureConnect", () =>
  connectTls({ ...tls(), port: ports.edge, host: "127.0.0.1", ALPNProtocols: ["h2"] }),
);
await idleMemory("main port", "connect", () => connectTcp(ports.main, "127.0.0.1"));

let isMet = true;
for (const kind of ["unary", "stream"] as const) {
  const rounds: { bare: Measured; edge: Measured }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    rounds.push({ bare: await kinds[kind](ports.bare), edge: await kinds[kind](ports.edge) });
  }
  const ratio = median(rounds.map(({ bare, edge }) => edge.perSecond / bare.perSecond));
  const cpuRatio = median(rounds.map(({ bare, edge }) => bare.cpuMicros / edge.cpuMicros));
  // On a shared machine the rate says more about the neighbours than about the code; the verdict goes by CPU time.
  isMet &&= cpuRatio >= TARGETS[kind];
  for (const name of ["bare", "edge"] as const) {
    const perSecond = rounds.map((round) => Math.round(round[name].perSecond));
    const cpu = rounds.map((round) => round[name].cpuMicros.toFixed(1));
    print(`${kind} ${name}: ${perSecond.join(", ")} /s; ${cpu.join(", ")} µs of CPU each`);
  }
  print(`${kind} ratio ${ratio.toFixed(2)} by rate, ${cpuRatio.toFixed(2)} by CPU (target ${TARGETS[kind]})`);
}
if (!isMet) process.exitCode = 1;

interface Measured {
  readonly perSecond: number;
  readonly cpuMicros: number;
}

function load(method: string) {
  return { path: `/grpc.testing.TestService/${method}`, message: () => payload };
}

function tls() {
  return { ca: ca.certificate, cert: node.certificate, key: node.privateKey, servername: "localhost" };
}

async function run(
  port: number,
  work: (sessions: Awaited<ReturnType<typeof openSessions>>) => Promise<LoadResult>,
): Promise<Measured> {
  const { ca: authority, cert, key } = tls();
  const target: LoadTarget = { address: `localhost:${port}`, ca: authority, certificate: cert, privateKey: key };
  const sessions = await openSessions(Array.from({ length: CONNECTIONS }, () => target));
  const before = cpuMicrosOf(pid);
  const { answers, ms } = await work(sessions);
  // The warm-up costs CPU too: its share is taken to be that of the time.
  const share = times.runMs / (times.runMs + times.warmMs);
  const cpuMicros = ((cpuMicrosOf(pid) - before) * share) / answers;
  for (const session of sessions) session.destroy();
  return { perSecond: (answers / ms) * 1_000, cpuMicros };
}

async function idleMemory(name: string, connected: string, open: () => Socket): Promise<void> {
  const before = residentBytesOf(pid);
  const sockets: Socket[] = [];
  for (let i = 0; i < IDLE; i++) {
    const socket = open().on("error", () => {});
    sockets.push(socket);
    await once(socket, connected);
  }
  await pause(500);
  const kib = (residentBytesOf(pid) - before) / 1024 / IDLE;
  print(`${IDLE} idle connections of the ${name}: ${kib.toFixed(1)} KiB each`);
  for (const socket of sockets) socket.destroy();
  await pause(500);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
