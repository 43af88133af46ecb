import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "#platform/postgres/sql.ts";
import { median } from "#platform/testing/median.ts";
import type { NodeRecord } from "../node-registry/directory/node-record.ts";
import { type LeaseWrite, writeLeases } from "../node-registry/liveness/leases.store.ts";
import { createProofRooms, type ProofRooms } from "../node-registry/proof-rooms.ts";
import { rootOfLeafProof } from "../node-registry/proofs/merkle.ts";
import { peekDue } from "../node-registry/proofs/peek-due.store.ts";
import { createBudget } from "../node-registry/proofs/schedule.ts";
import { scheduleOnce } from "../node-registry/proofs/scheduler.worker.ts";
import { countSuccesses } from "../node-registry/proofs/success-counter.worker.ts";
import { type ChunkBench, createChunkBench, operatorSettings, seedNodes, timed } from "./chunk-bench-kit.ts";
import { measured } from "./measured.ts";
import { postgresCpuMicros } from "./postgres-cpu.ts";
import { createProver, seedReplicas } from "./proof-bench-kit.ts";

// Storage proofs: verifying Merkle answers on one core; finding what is due with few and with many replicas; asking,
// settling and counting 2,000 proofs a second; and what that costs heartbeats, written in turn without and with it.
// It takes some minutes to fill the tables; BENCH_REPLICAS sets another size than 20 million.

const REPLICAS = Number(process.env.BENCH_REPLICAS ?? 20_000_000);
const NODES = 10_000;
// Nodes that beat at this process and have something due.
const PROVING = 5_000;
const RATE = 2_000;
const RUN_MS = 10_000;
// Until what the proofs of a while touch is in the server's memory, and the worst after a checkpoint is over.
const WARM_MS = Math.min(60_000, Math.max(5_000, REPLICAS / 500));

verifying();
const small = await measure(Math.round(REPLICAS / 20));
const large = await measure(REPLICAS);
console.log(
  `blocks looked at to find what is due, ${REPLICAS.toLocaleString("en")} replicas against a twentieth: ` +
    `${(large / small).toFixed(2)} times`,
);

function verifying(): void {
  const chunk = randomBytes(256 * 1024);
  const { root, proofs } = createProver(chunk);
  const wanted = root.toString("hex");
  let verified = 0;
  const before = process.cpuUsage();
  const startedAt = performance.now();
  while (performance.now() - startedAt < 2_000) {
    for (const [index, proof] of proofs.entries()) {
      const result = rootOfLeafProof(index, chunk.length, proof);
      if (result.kind !== "root" || result.root.toString("hex") !== wanted)
        throw new Error("a right proof was refused");
    }
    verified += proofs.length;
  }
  const { user, system } = process.cpuUsage(before);
  const rate = (verified / (user + system)) * 1e6;
  console.log(
    `verifying leaves of 256 KiB chunks: ${Math.round(rate).toLocaleString("en")} per second of processor, wanted 20,000`,
  );
  measured("merkle", rate);
}

/** Everything that needs a database of this size; answers how many blocks a node costs to find what is due of it. */
async function measure(replicas: number): Promise<number> {
  await using bench = await createChunkBench(operatorSettings);
  await seedNodes(bench.bare, NODES);
  await bench.loadNodes();
  const fillMs = await timed(() => seedReplicas(bench.bare, { replicas, nodes: NODES, overdueNodes: PROVING }));
  console.log(
    `-- ${replicas.toLocaleString("en")} replicas on ${NODES.toLocaleString("en")} nodes, filled in ${Math.round(fillMs / 1_000)} s`,
  );
  const ids = bench.deps.view.candidates().map((node) => node.rowId);
  const peeks: number[] = [];
  for (let round = 0; round < 20; round += 1) {
    const some = ids.slice(round * 500, (round + 1) * 500);
    peeks.push(await timed(() => peek(bench, some)));
  }
  const blocks = (await blocksOfPeek(bench, ids.slice(0, 500))) / 500;
  console.log(
    `   finding what is due of 500 nodes: ${median(peeks).toFixed(1)} ms, ${blocks.toFixed(1)} blocks per node`,
  );
  if (replicas === REPLICAS) await settling(bench);
  return blocks;
}

async function blocksOfPeek(bench: ChunkBench, ids: readonly bigint[]): Promise<number> {
  const before = await blocksRead(bench);
  await peek(bench, ids);
  await bench.pool.query(sql.unsafe`select pg_stat_force_next_flush()`);
  return (await blocksRead(bench)) - before;
}

function peek({ pool, deps }: ChunkBench, ids: readonly bigint[]) {
  const now = deps.clock.now();
  return peekDue(pool, ids, 4, { now, struckAfter: now.subtract({ hours: 1 }) });
}

/** Index and table blocks of the replicas, from the cache or not. */
async function blocksRead(bench: ChunkBench): Promise<number> {
  await sleep(1_500);
  const { rows } = await bench.bare.query(
    `select sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read) as blocks
     from pg_statio_all_tables where relname like 'chunk_storage%'`,
  );
  return Number(rows[0]?.blocks ?? 0);
}

async function settling(bench: ChunkBench): Promise<void> {
  const config = { ...bench.deps.config, PROOF_NODE_BUDGET: 4, PROOF_RATE: 100_000, PROOF_VERDICT_RETENTION: 1_000 };
  const deps = { ...bench.deps, config };
  const rooms = createProofRooms(deps);
  // An operator's server is warm. This one has just written its tables and made a checkpoint.
  const warmed = await prove(bench, rooms, Number.POSITIVE_INFINITY, WARM_MS);
  console.log(`   warming up: ${Math.round(warmed).toLocaleString("en")} proofs/s`);
  await printStatements(bench);
  const [ownBefore, serverBefore] = await cpuMicros(bench);
  const unpaced = await prove(bench, rooms, Number.POSITIVE_INFINITY, 5_000);
  const [own, server] = await cpuMicros(bench);
  const each = (micros: number) => Math.round(micros / (unpaced * 5));
  console.log(
    `   asking and settling as fast as it goes: ${Math.round(unpaced).toLocaleString("en")} proofs/s, wanted ${RATE}; ` +
      `µs of processor each: ${each(own - ownBefore)} here, ${each(server - serverBefore)} in PostgreSQL`,
  );
  await printStatements(bench);
  const without: number[] = [];
  const during: number[] = [];
  for (let round = 0; round < 3; round += 1) {
    without.push(await beat(bench, RUN_MS / 3));
    const [beats, proofs] = await Promise.all([beat(bench, RUN_MS / 3), prove(bench, rooms, RATE, RUN_MS / 3)]);
    during.push(beats);
    console.log(
      `   heartbeats ${Math.round(without.at(-1) ?? 0).toLocaleString("en")}/s alone, ${Math.round(beats).toLocaleString("en")}/s beside ${Math.round(proofs).toLocaleString("en")} proofs/s`,
    );
  }
  console.log(
    `   heartbeats beside the proofs: ${(median(during) / median(without)).toFixed(2)} of those alone, wanted 0.80`,
  );
  const reduced = REPLICAS < 20_000_000 ? `${REPLICAS.toLocaleString("en")} replicas` : undefined;
  measured("proofRate", unpaced, reduced);
  measured(
    "proofHeartbeats",
    during.map((beats, round) => beats / (without[round] ?? Number.NaN)),
    reduced,
  );
}

/** Where the database's time went since the last call, with BENCH_STATEMENTS set. */
async function printStatements({ bare }: ChunkBench): Promise<void> {
  if (process.env.BENCH_STATEMENTS === undefined) return;
  const { rows } = await bare.query(
    `select calls, round(total_exec_time) as exec_ms, rows, shared_blks_hit as hit, shared_blks_read as read,
       shared_blks_written as written, wal_fpi, round(wal_bytes / 1024) as wal_kb,
       left(regexp_replace(query, '\\s+', ' ', 'g'), 110) as query
     from pg_stat_statements order by total_exec_time desc limit 12`,
  );
  await bare.query("select pg_stat_statements_reset()");
  for (const row of rows)
    console.log(
      `      ${Object.entries(row)
        .map(([name, value]) => `${name}=${value}`)
        .join(" ")}`,
    );
}

async function cpuMicros(bench: ChunkBench): Promise<[number, number]> {
  const { user, system } = process.cpuUsage();
  return [user + system, await postgresCpuMicros(bench.pool)];
}

/**
 * Rounds as the scheduler makes them, four a second when paced, each followed by the answers of all who were asked; tells
 * how many were proved.
 */
async function prove(bench: ChunkBench, rooms: ProofRooms, perSecond: number, runMs: number): Promise<number> {
  const { proofs } = rooms;
  const isPaced = Number.isFinite(perSecond);
  const budget = createBudget(bench.deps.clock, isPaced ? perSecond : 100_000);
  // Begins without the second's worth that a budget has saved after an idle time.
  if (isPaced) budget.take(perSecond);
  const nodes = bench.deps.view.candidates().slice(0, PROVING);
  for (const node of nodes) rooms.commandsFor(node.nodeId, 16);
  const startedAt = performance.now();
  let settled = 0;
  for (let round = 0; performance.now() - startedAt < runMs; round += 1) {
    proofs.reception.tick();
    await scheduleOnce(proofs, budget, round % 20 === 0);
    settled += await answer(rooms, nodes);
    if (round % 8 === 0) await countSuccesses({ ...bench.deps, retentionMs: 1_000 });
    if (isPaced) await sleep(Math.max(0, (round + 1) * 250 - (performance.now() - startedAt)));
  }
  return (settled / (performance.now() - startedAt)) * 1_000;
}

/** Whatever these nodes were asked for is proved; tells how much it was. */
async function answer({ proofs, commandsFor }: ProofRooms, nodes: readonly NodeRecord[]): Promise<number> {
  const decisions = nodes.flatMap((node) =>
    commandsFor(node.nodeId, 16).map(({ commandId }) => {
      const challenge = proofs.board.find(commandId);
      const verdict = challenge === undefined ? undefined : { challenge, outcome: { kind: "proved" } as const };
      return { commandId, nodeRowId: node.rowId, verdict };
    }),
  );
  return (await proofs.settle(decisions)).filter((settlement) => settlement === "proved").length;
}

/** Writes heartbeats as the lease writer does, a thousand nodes a statement, one after the other; answers rows a second. */
async function beat(bench: ChunkBench, runMs: number): Promise<number> {
  const rowIds = bench.deps.view
    .candidates()
    .map((node) => node.rowId)
    .sort((a, b) => Number(a - b));
  const startedAt = performance.now();
  let written = 0;
  for (let sequence = 2n; performance.now() - startedAt < runMs; sequence += 1n) {
    for (let start = 0; start < rowIds.length && performance.now() - startedAt < runMs; start += 1_000) {
      const batch = rowIds.slice(start, start + 1_000).map(
        (rowId): LeaseWrite => ({
          rowId,
          epoch: null,
          ageMs: 0,
          isRestarted: false,
          sequence,
          usedBytes: 1n,
          freeBytes: 1n,
          chunkCount: 1n,
          isFreeClamped: false,
          chunkDigest: null,
          peerNetwork: "10.0.0.0/24",
        }),
      );
      written += (await writeLeases(bench.pool, bench.deps.instanceId, 15_000, batch)).length;
    }
  }
  return (written / (performance.now() - startedAt)) * 1_000;
}
