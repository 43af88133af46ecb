import { fromBinary } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { NodeHeartbeatSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { NodeLiveness } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { connectNats } from "#platform/nats/connect.ts";
import { failureOf, reasonOf } from "#platform/testing/grpc-client.ts";
import { createTestLogger } from "#platform/testing/test-database.ts";
import { openBeats } from "../testing/beat-stream.ts";
import { beat, createTestNetwork, heartbeat, type TestNetwork, type TestRegistry } from "../testing/test-registry.ts";

let network: TestNetwork;
let registry: TestRegistry;
beforeAll(async () => {
  network = await createTestNetwork();
  registry = await network.registry();
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await network[Symbol.asyncDispose]();
});

const nodeOf = async (nodeId: string) => {
  const { node } = await registry.directory.getNode({ nodeId });
  if (node === undefined) throw new Error("no node");
  return node;
};

test("each request gets exactly one answer, in order, and half-close ends with OK after the last", async () => {
  const node = await registry.enroll();
  using client = node.connect();
  const stream = openBeats(client);
  for (let sequence = 1; sequence <= 100; sequence += 1) stream.send(beat(sequence, { usedBytes: BigInt(sequence) }));
  stream.end();
  expect(await stream.finished).toEqual({ code: status.OK, answers: 100 });
  await vi.waitFor(async () => expect((await nodeOf(node.nodeId)).usedBytes).toBe(100n), 20_000);
});

test("a sequence that was passed renews the lease without its figures, and 1 restarts", async () => {
  const node = await registry.enroll();
  using client = node.connect();
  await client.unary(heartbeat, beat(5, { usedBytes: 50n }));
  await vi.waitFor(async () => expect((await nodeOf(node.nodeId)).usedBytes).toBe(50n), 20_000);
  const { lastHeartbeat } = await nodeOf(node.nodeId);
  await client.unary(heartbeat, beat(4, { usedBytes: 40n }));
  await vi.waitFor(async () => expect((await nodeOf(node.nodeId)).lastHeartbeat).not.toEqual(lastHeartbeat), 20_000);
  expect((await nodeOf(node.nodeId)).usedBytes).toBe(50n);
  await client.unary(heartbeat, beat(1, { usedBytes: 10n }));
  await client.unary(heartbeat, beat(3, { usedBytes: 30n }));
  await client.unary(heartbeat, beat(2, { usedBytes: 20n }));
  await vi.waitFor(async () => expect((await nodeOf(node.nodeId)).usedBytes).toBe(30n), 20_000);
});

test("free above the capacity is clamped", async () => {
  const node = await registry.enroll({ capacityGb: 1 });
  using client = node.connect();
  await client.unary(heartbeat, beat(1, { freeBytes: 2n ** 40n }));
  await vi.waitFor(async () => expect((await nodeOf(node.nodeId)).freeBytes).toBe(2n ** 30n), 20_000);
});

test("the largest free figure there is, as a file system without a limit gives it, is clamped and ends no stream", async () => {
  const node = await registry.enroll({ capacityGb: 1 });
  using client = node.connect();
  const stream = openBeats(client);
  expect(await stream.exchange(beat(1, { usedBytes: 3n, freeBytes: 2n ** 63n - 1n }))).not.toHaveProperty("reason");
  await vi.waitFor(async () => {
    expect(await nodeOf(node.nodeId)).toMatchObject({ usedBytes: 3n, freeBytes: 2n ** 30n });
  }, 20_000);
});

test("a newer stream takes over, in this process and in another", async () => {
  await using other = await network.registry();
  const node = await registry.enroll();
  using client = node.connect();
  using elsewhere = node.connect(other.edgeAddress);
  const first = openBeats(client);
  await first.exchange(beat(1));
  const second = openBeats(client);
  await second.exchange(beat(2));
  expect(await first.finished).toMatchObject({ code: status.ABORTED, reason: "STREAM_SUPERSEDED" });
  const third = openBeats(elsewhere);
  await third.exchange(beat(3, { usedBytes: 33n }));
  await vi.waitFor(async () => expect((await nodeOf(node.nodeId)).usedBytes).toBe(33n), 20_000);
  second.send(beat(4, { usedBytes: 44n }));
  expect(await second.finished).toMatchObject({ code: status.ABORTED, reason: "STREAM_SUPERSEDED" });
  await third.exchange(beat(5, { usedBytes: 55n }));
  await vi.waitFor(async () => expect((await nodeOf(node.nodeId)).usedBytes).toBe(55n), 20_000);
});

test("a node can open only so many streams", async () => {
  const node = await registry.enroll();
  using client = node.connect();
  const streams = Array.from({ length: 200 }, () => openBeats(client));
  for (const stream of streams) stream.send(beat(1));
  const ends = await Promise.all(streams.map((stream) => Promise.race([stream.finished, stream.exchange(beat(2))])));
  const reasons = new Set(ends.map((end) => ("reason" in end ? end.reason : "answered")));
  expect(reasons).toContain("TOO_MANY_STREAMS");
  await vi.waitFor(async () => expect((await nodeOf(node.nodeId)).liveness).toBe(NodeLiveness.ONLINE), 20_000);
});

test("a bad field ends the stream with the field and its rule", async () => {
  const node = await registry.enroll();
  using client = node.connect();
  for (const bad of [beat(-1), beat(1, { usedBytes: -1n }), beat(1, { chunkDigest: new Uint8Array(7) })]) {
    const stream = openBeats(client);
    stream.send(bad);
    expect(await stream.finished).toMatchObject({ code: status.INVALID_ARGUMENT, reason: "INVALID_FIELD" });
  }
  const failure = await failureOf(client.unary(heartbeat, beat(1, { freeBytes: -5n })));
  expect(failure.details).toContain("free_bytes");
});

test("an address is taken on, and a private one refused where those are not allowed", async () => {
  await using strict = await network.registry({ NODE_ALLOW_PRIVATE_ADDRESSES: "false" });
  const node = await registry.enroll();
  using client = node.connect();
  await client.unary(heartbeat, beat(1, { address: { host: "node.example", port: 5_000 }, softwareVersion: "test/2" }));
  expect(await nodeOf(node.nodeId)).toMatchObject({
    address: { host: "node.example", port: 5_000 },
    softwareVersion: "test/2",
  });
  using other = node.connect(strict.edgeAddress);
  const failure = await failureOf(other.unary(heartbeat, beat(2, { address: { host: "10.0.0.1", port: 5_000 } })));
  expect(reasonOf(failure)).toBe("INVALID_FIELD");
});

test("heartbeats of one flush are one event, and a late subscriber finds the last of each node", async () => {
  const node = await registry.enroll();
  using client = node.connect();
  const stream = openBeats(client);
  for (let sequence = 1; sequence <= 40; sequence += 1) await stream.exchange(beat(sequence));
  await using nats = await connectNats({
    url: network.nats.url("subscriber"),
    name: "test",
    log: createTestLogger(),
    inboxPrefix: "_INBOX",
  });
  const last = await vi.waitFor(async () => {
    const { streams } = await nats.connection.jetstreamManager({ checkAPI: false });
    const subject = `decentrastore.node.heartbeat.${node.nodeId}`;
    const message = await streams.getMessage("NODE_HEARTBEATS", { last_by_subj: subject });
    const event = fromBinary(NodeHeartbeatSchema, message.data);
    expect(event.sequence).toBe(40n);
    return event;
  }, 20_000);
  expect(last.nodeId).toBe(node.nodeId);
  expect(last.heartbeatCount).toBeGreaterThanOrEqual(1);
  stream.end();
});
