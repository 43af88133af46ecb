import { hash, randomBytes, randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ReputationEvidenceKind } from "#gen/decentrastore/node_registry/v1/node_explanation_pb.ts";
import { NodeLiveness, NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { proofRoot } from "../dev/sample-node/merkle.ts";
import type { DevFile } from "../dev/start/dev-file.ts";
import { startTcpProxy } from "../node-registry/testing/tcp-proxy.ts";
import { startControlPlane } from "./fixtures/control-plane.ts";
import { gatewayClients, registerUser } from "./fixtures/network.ts";
import { startSampleNodes } from "./fixtures/sample-nodes.ts";
import { connectSubscriber, replay } from "./fixtures/stream-replay.ts";
import { persistently, until } from "./fixtures/until.ts";

// Twenty real nodes, of which one has silently deleted half of its chunks, one answers late and one is cut off by our own
// fault, with a clock that runs many times as fast. What honest nodes get is still long for a machine that is busy with
// other things: to miss a challenge they would have to stand still for two windows in a row, and yet go on beating.

const scaled = {
  NODE_HEARTBEAT_INTERVAL: "1s",
  NODE_LEASE_TTL: "16s",
  NODE_PROBATION_PERIOD: "0",
  PROOF_FIRST_WITHIN: "4s",
  PROOF_INTERVAL: "15s",
  PROOF_ANSWER_WINDOW: "12s",
  PROOF_NODE_BUDGET: "8",
  PROOF_RETRY_DELAY: "1s",
  PROOF_VERDICT_RETENTION: "5s",
  REPAIR_OFFLINE_AFTER: "10m",
  REPAIR_TIMEOUT: "60s",
  REPAIR_PAUSE: "1s",
};
// After the window of a challenge and of the one that repeats it.
const LATE_MS = 40_000;
const CHUNKS = 160;
const DELETER = "node-3";
const CUT_OFF = "node-19";
const LATE = "node-20";

interface Client {
  readonly network: DevFile;
  readonly gateway: Awaited<ReturnType<typeof gatewayClients>>;
}

it("finds the node that deleted, repairs what it held, puts the late one on probation and spares the one that we cut off", async () => {
  await using controlPlane = await startControlPlane({ env: scaled });
  const network = await controlPlane.devFile();
  const gateway = await gatewayClients(network);
  await using folder = await temporaryFolder();
  const [host = "127.0.0.1", port = ""] = network.nodeEdgeAddress.split(":");
  await using wire = await startTcpProxy({ host, port: Number(port) });
  const cutHome = await homeWith(folder.path, { ...network, nodeEdgeAddress: `127.0.0.1:${wire.port}` });
  const common = { home: controlPlane.home, folder: join(folder.path, "nodes") };
  await using honest = await startSampleNodes({ ...common, count: 18, first: 1 });
  await using cut = await startSampleNodes({ ...common, home: cutHome, count: 1, first: 19 });
  const late = { SAMPLE_NODE_PROOF_DELAY_MS: String(LATE_MS) };
  await using slow = await startSampleNodes({ ...common, count: 1, first: 20, env: late });
  const idOf = (name: string) => {
    const nodeId = honest.nodeIds.get(name) ?? cut.nodeIds.get(name) ?? slow.nodeIds.get(name);
    if (nodeId === undefined) throw new Error(`no sample node ${name}`);
    return nodeId;
  };
  const hashes = await upload({ network, gateway });
  // Not three: what the late node holds is taken from it again and again.
  await until("every chunk is stored", 60_000, async () => {
    const counts = await replicaCounts(gateway, hashes);
    return counts.length === CHUNKS && counts.every((count) => count >= 2);
  });

  await deleteHalf(join(common.folder, DELETER, "chunks"));
  wire.cut();
  await controlPlane.kill("nodeRegistry");
  const nodeOf = async (name: string) => (await persistently(() => gateway.nodes.getNode({ nodeId: idOf(name) }))).node;
  await until(
    "the node that was cut off is offline",
    120_000,
    async () => (await nodeOf(CUT_OFF))?.liveness === NodeLiveness.OFFLINE,
  );
  wire.mend();
  await until(
    "the node that deleted is shut out",
    180_000,
    async () => (await nodeOf(DELETER))?.state === NodeState.DISQUALIFIED,
  );
  await until("the late node is on probation", 180_000, async () => (await nodeOf(LATE))?.isOnProbation === true);
  await until("the node that was cut off is back", 60_000, async () => (await nodeOf(CUT_OFF))?.isActive === true);
  await until("every chunk is whole again", 240_000, async () => {
    const stats = await persistently(() => gateway.nodes.getNetworkStats({}));
    const counts = await persistently(() => replicaCounts(gateway, hashes));
    return stats.underReplicatedChunkCount === 0n && counts.every((count) => count >= 3);
  });

  const deleter = await gateway.nodes.explainNode({ nodeId: idOf(DELETER) });
  expect(deleter.reputation?.evidence.map((entry) => entry.kind)).toContain(ReputationEvidenceKind.PROOF_FAILED);
  // What was found then and not today's score: answers that were under way may have raised it a step since.
  const shutOut = deleter.transitions.find(({ previousState }) => previousState === NodeState.IN_SERVICE);
  expect(shutOut).toMatchObject({
    state: NodeState.DISQUALIFIED,
    actorId: "system",
    evidence: expect.stringMatching(/^reputation 0(\.[0-3]\d*)? by failed and invalid proofs is below 0\.4$/),
  });
  const lateNode = await gateway.nodes.explainNode({ nodeId: idOf(LATE) });
  expect(lateNode.node).toMatchObject({ state: NodeState.IN_SERVICE, isOnProbation: true });
  const lateKinds = new Set(lateNode.reputation?.evidence.map((entry) => entry.kind));
  // The killed registry gave it its whole window anew, so an answer of that moment may have been in time.
  lateKinds.delete(ReputationEvidenceKind.PROOF_SUCCEEDED);
  expect([...lateKinds]).toEqual([ReputationEvidenceKind.PROOF_TIMED_OUT]);
  const spared = await gateway.nodes.explainNode({ nodeId: idOf(CUT_OFF) });
  expect(spared.node).toMatchObject({ reputationScore: 1, isOnProbation: false, state: NodeState.IN_SERVICE });
  expect(spared.reputation?.evidence).toEqual([]);
  for (const name of honest.nodeIds.keys()) {
    if (name !== DELETER) expect((await nodeOf(name))?.reputationScore, name).toBe(1);
  }
  const stats = await gateway.nodes.getNetworkStats({});
  expect(stats).toMatchObject({ probationNodes: 1, lostChunkCount: 0n, chunkCount: BigInt(CHUNKS) });
  expect(stats.states.find(({ state }) => state === NodeState.DISQUALIFIED)?.nodes).toBe(1);
  await expectEvents(await controlPlane.devFile(), { deleter: idOf(DELETER), late: idOf(LATE), cutOff: idOf(CUT_OFF) });
}, 900_000);

async function temporaryFolder() {
  const path = await mkdtemp(join(tmpdir(), "decentrastore-proofs-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** A home folder whose nodes reach the node edge by another way. */
async function homeWith(folder: string, network: DevFile): Promise<string> {
  const home = join(folder, "cut-home");
  await mkdir(home, { recursive: true });
  await writeFile(join(home, "dev.json"), JSON.stringify(network), { mode: 0o600 });
  return home;
}

/** Places chunks with their proof roots and sends each to its nodes, as a gateway and its client do. */
async function upload({ network, gateway }: Client): Promise<string[]> {
  const { userId } = await registerUser(network);
  const files = new Map(
    Array.from({ length: CHUNKS }, (_, index) => {
      const bytes = randomBytes(3_000 + index);
      return [hash("sha256", bytes), bytes] as const;
    }),
  );
  const chunks = [...files].map(([chunkHash, bytes], blockIndex) => ({
    chunkHash,
    sizeBytes: BigInt(bytes.length),
    blockIndex,
    proofRoot: proofRoot(bytes),
  }));
  const placed = await persistently(() =>
    gateway.chunks.placeChunks({ userId, uploadId: randomUUID(), chunks, replicas: 3 }),
  );
  for (const { chunkHash, nodes } of placed.chunks) {
    const body = new Uint8Array(files.get(chunkHash) ?? Buffer.alloc(0));
    await Promise.all(
      nodes.map(async ({ address }) => {
        const url = `http://${address?.host}:${address?.port}/chunks/${chunkHash}`;
        const response = await fetch(url, { method: "PUT", body });
        if (!response.ok) throw new Error(`${url}: ${response.status}`);
      }),
    );
  }
  return [...files.keys()];
}

async function replicaCounts(gateway: Client["gateway"], chunkHashes: string[]): Promise<number[]> {
  const { chunks } = await gateway.chunks.locateChunks({ chunkHashes });
  return chunks.map((chunk) => chunk.nodes.length);
}

/** Silently: the node goes on counting them as its own. */
async function deleteHalf(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => /^[0-9a-f]{64}$/.test(name));
  expect(names.length).toBeGreaterThan(4);
  for (const name of names.slice(0, Math.ceil(names.length / 2))) await rm(join(folder, name));
}

async function expectEvents(
  network: DevFile,
  nodes: { readonly deleter: string; readonly late: string; readonly cutOff: string },
): Promise<void> {
  const connection = await connectSubscriber(network.natsUrl);
  const events = [...(await replay(connection, "NODES")), ...(await replay(connection, "CHUNKS"))];
  await connection.close();
  const namesAbout = (key: string) =>
    events.filter((event) => event.key === key).map((event) => event.subject.split(".")[2]);
  expect(namesAbout(nodes.deleter)).toEqual(
    expect.arrayContaining(["proof_failed", "reputation_changed", "state_changed", "disqualified"]),
  );
  expect(namesAbout(nodes.late)).toContain("reputation_changed");
  expect(namesAbout(nodes.late)).not.toContain("disqualified");
  expect(namesAbout(nodes.cutOff)).toEqual(expect.arrayContaining(["online", "offline"]));
  expect(namesAbout(nodes.cutOff)).not.toContain("proof_failed");
  const chunkWords = new Set(events.map((event) => event.subject.split(".").slice(1, 3).join(".")));
  expect([...chunkWords]).toEqual(expect.arrayContaining(["chunk.lost", "chunk.repaired"]));
}
