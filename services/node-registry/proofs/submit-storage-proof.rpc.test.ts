import { hash, randomBytes, randomUUID } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import type { NodeCommand } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import { ReputationEvidenceKind } from "#gen/decentrastore/node_registry/v1/node_explanation_pb.ts";
import { NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql } from "#platform/postgres/sql.ts";
import { failureOf, reasonOf, type TestGrpcClient } from "#platform/testing/grpc-client.ts";
import { proofOf, rootOf } from "../testing/merkle-tree.ts";
import { eventsAbout, replicasOf } from "../testing/proof-queries.ts";
import { beat, createTestNetwork } from "../testing/test-registry.ts";

const { heartbeat, submitStorageProof } = NodeService.method;

const scaled = {
  NODE_HEARTBEAT_INTERVAL: "100ms",
  NODE_HEARTBEAT_MIN_INTERVAL: "0",
  PROOF_FIRST_WITHIN: "100ms",
  PROOF_RETRY_DELAY: "100ms",
  PROOF_VERDICT_RETENTION: "100ms",
};

/** A chunk that the node has confirmed, as placement and its report leave it. */
async function storeChunk(pool: Pool, nodeId: string, bytes: Uint8Array, hasRoot: boolean): Promise<string> {
  const chunkHash = hash("sha256", bytes);
  const root = hasRoot ? `\\x${rootOf(bytes)}` : null;
  await pool.query(sql.unsafe`
    insert into node_registry.chunks (chunk_hash, owner_id, size_bytes, wanted_replicas, confirmed_replicas,
      live_replicas, paying_upload_id, proof_root, created_at, quorum_at)
    values (decode(${chunkHash}, 'hex'), ${randomUUID()}::uuid, ${bytes.length}, 1, 1, 1, ${randomUUID()}::uuid,
      ${root}::bytea, now(), now())`);
  await pool.query(sql.unsafe`
    insert into node_registry.chunk_storage (chunk_hash, node_id, block_index, assigned_at, stored_at, next_proof_at)
    select decode(${chunkHash}, 'hex'), id, 0, now(), now(), now() - interval '1 minute'
    from node_registry.storage_nodes where node_id = decode(${nodeId}, 'hex')`);
  await pool.query(sql.unsafe`
    insert into node_registry.node_holdings (node_id, confirmed_chunks, confirmed_bytes)
    select id, 1, ${bytes.length} from node_registry.storage_nodes where node_id = decode(${nodeId}, 'hex')
    on conflict (node_id) do update set confirmed_chunks = node_holdings.confirmed_chunks + 1,
      confirmed_bytes = node_holdings.confirmed_bytes + excluded.confirmed_bytes`);
  return chunkHash;
}

/** Beats until the registry asks for a proof. */
async function untilAsked(client: TestGrpcClient, sequence: { next: number }): Promise<NodeCommand> {
  for (;;) {
    const { commands } = await client.unary(heartbeat, beat(sequence.next));
    sequence.next += 1;
    const command = commands.find((one) => one.command.case === "proveChunk");
    if (command !== undefined) return command;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function answer(command: NodeCommand, bytes: Uint8Array) {
  if (command.command.case !== "proveChunk") throw new Error("not asked for a proof");
  const { chunkHash, nonce, leafIndex } = command.command.value;
  const proof =
    leafIndex === undefined
      ? { case: "chunk" as const, value: bytes }
      : { case: "merkleProof" as const, value: proofOf(bytes, leafIndex) };
  return { commandId: command.commandId, chunkHash, nonce, proof };
}

test("a node proves a leaf and the largest whole chunk over mutual TLS; other nodes cannot answer for it", async () => {
  await using network = await createTestNetwork();
  await using registry = await network.registry(scaled);
  const pool = await network.db.pool("node_registry");
  const [node, other] = [await registry.enroll(), await registry.enroll()];
  using client = node.connect();
  using stranger = other.connect();
  const sequence = { next: 1 };
  await client.unary(heartbeat, beat(sequence.next++));
  const small = randomBytes(50_000);
  const smallHash = await storeChunk(pool, node.nodeId, small, true);
  const leaf = await untilAsked(client, sequence);
  const refused = await failureOf(stranger.unary(submitStorageProof, answer(leaf, small)));
  expect([refused.code, reasonOf(refused)]).toEqual([status.NOT_FOUND, "COMMAND_NOT_FOUND"]);
  expect(await client.unary(submitStorageProof, answer(leaf, small))).toMatchObject({ isAccepted: true });
  expect(await replicasOf(pool, smallHash)).toMatchObject([{ proof_count: 1, is_verified: true }]);

  const large = randomBytes(2 * 2 ** 20);
  await storeChunk(pool, node.nodeId, large, false);
  const whole = await untilAsked(client, sequence);
  expect(await client.unary(submitStorageProof, answer(whole, large))).toMatchObject({ isAccepted: true });
  const tooLong = await failureOf(
    client.unary(submitStorageProof, {
      ...answer(whole, large),
      proof: { case: "chunk", value: randomBytes(2 ** 21 + 1) },
    }),
  );
  expect([tooLong.code, reasonOf(tooLong)]).toEqual([status.INVALID_ARGUMENT, "INVALID_FIELD"]);
});

test("failed proofs are seen by operators with their arithmetic, shut the node out, and a reset begins anew", async () => {
  await using network = await createTestNetwork();
  await using registry = await network.registry(scaled);
  const pool = await network.db.pool("node_registry");
  const node = await registry.enroll();
  using client = node.connect();
  const sequence = { next: 1 };
  await client.unary(heartbeat, beat(sequence.next++));
  const { nodeId } = node;
  for (let failures = 1; failures <= 7; failures += 1) {
    await storeChunk(pool, nodeId, randomBytes(3_000), true);
    const { proof: _, ...word } = answer(await untilAsked(client, sequence), randomBytes(3_000));
    expect(await client.unary(submitStorageProof, word)).toMatchObject({ isAccepted: false });
    if (failures === 1) {
      await expect.poll(async () => (await registry.directory.getNode({ nodeId })).node?.reputationScore).toBe(0.9);
    }
  }
  await expect
    .poll(async () => (await registry.directory.getNode({ nodeId })).node?.state)
    .toBe(NodeState.DISQUALIFIED);
  const beaten = await failureOf(client.unary(heartbeat, beat(sequence.next++)));
  expect(reasonOf(beaten)).toBe("NODE_DISQUALIFIED");
  const { reputation, transitions } = await registry.directory.explainNode({ nodeId });
  expect(reputation).toMatchObject({
    score: 0.3,
    formula: "additive-1",
    probationThreshold: 0.7,
    disqualificationThreshold: 0.4,
  });
  expect(reputation?.evidence).toHaveLength(7);
  expect(reputation?.evidence[0]).toMatchObject({
    kind: ReputationEvidenceKind.PROOF_FAILED,
    previousScore: 0.4,
    score: 0.3,
  });
  expect(transitions[0]).toMatchObject({
    state: NodeState.DISQUALIFIED,
    evidence: "reputation 0.3 by failed and invalid proofs is below 0.4",
    actorId: "system",
  });
  const events = await eventsAbout(pool, nodeId);
  expect(events.filter((name) => name === "NodeProofFailed")).toHaveLength(7);
  expect(events.slice(-2)).toEqual(["NodeStateChanged", "NodeDisqualified"]);

  const reset = await registry.directory.resetReputation({ nodeId, reason: "disk replaced" });
  expect(reset.node).toMatchObject({ reputationScore: 1, state: NodeState.DISQUALIFIED });
  const explained = await registry.directory.explainNode({ nodeId });
  expect(explained.reputation?.evidence[0]).toMatchObject({
    kind: ReputationEvidenceKind.RESET,
    reason: "disk replaced",
    score: 1,
  });
  expect(explained.reputation?.evidence[0]?.actorId).not.toBe("");
  await registry.directory.setNodeState({ nodeId, state: NodeState.IN_SERVICE, reason: "disk replaced" });
  await client.unary(heartbeat, beat(sequence.next++));
  const stats = await registry.directory.getNetworkStats({});
  expect(stats.states.find((count) => count.state === NodeState.IN_SERVICE)?.nodes).toBe(1);
});

test("a reset needs a known node and a reason", async () => {
  await using network = await createTestNetwork();
  await using registry = await network.registry(scaled);
  const { nodeId } = await registry.enroll();
  const codeOf = (call: Promise<unknown>) =>
    call.then(
      () => "ok",
      (error: unknown) => Code[ConnectError.from(error).code],
    );
  expect(await codeOf(registry.directory.resetReputation({ nodeId: "0".repeat(64), reason: "x" }))).toBe("NotFound");
  expect(await codeOf(registry.directory.resetReputation({ nodeId, reason: "" }))).toBe("InvalidArgument");
  expect(await codeOf(registry.directory.resetReputation({ nodeId: "x", reason: "x" }))).toBe("InvalidArgument");
  expect(await codeOf(registry.directory.resetReputation({ nodeId, reason: "x" }))).toBe("ok");
});
