import { DiscardPolicy } from "nats";
import { expect, test } from "vitest";
import { createTestLogger } from "../testing/test-database.ts";
import { startTestNats } from "../testing/test-nats.ts";
import { connectNats } from "./connect.ts";
import type { StreamSettings } from "./stream-settings.ts";
import { ensureStream, streamConfig, streamDefinitions, streamOf, subjectMatches } from "./streams.ts";

const log = createTestLogger();

test("a disk that is too small gets a smaller stream instead of none", async () => {
  await using broker = await startTestNats({ jetstream: { max_file_store: 300 * 1024 * 1024 } });
  await using nats = await connectNats({ url: broker.url("auth"), name: "auth", log });
  const { info, isNew } = await ensureStream(nats, "USERS", {}, log);
  expect(isNew).toBe(true);
  expect(info.config.max_bytes).toBe(256 * 1024 * 1024);
  expect(await ensureStream(nats, "USERS", {}, log)).toMatchObject({ isNew: false });
});

test("a stream that is there keeps its limits and gets the subjects that it lacks", async () => {
  await using broker = await startTestNats();
  await using nats = await connectNats({ url: broker.url("node-registry"), name: "node-registry", log });
  const { streams } = await nats.connection.jetstreamManager();
  await streams.add({ ...streamConfig("CHUNKS"), max_bytes: 1_000_000, subjects: ["decentrastore.chunk.>"] });
  const { info } = await ensureStream(nats, "CHUNKS", {}, log);
  expect(info.config.max_bytes).toBe(1_000_000);
  expect(info.config.subjects).toEqual(["decentrastore.chunk.>", "decentrastore.upload.>"]);
});

test("a stream that somebody made to drop its oldest events refuses new ones again when it is full", async () => {
  await using broker = await startTestNats();
  await using nats = await connectNats({ url: broker.url("auth"), name: "auth", log });
  const { streams } = await nats.connection.jetstreamManager();
  const max_bytes = 1_000_000;
  const subjects = ["decentrastore.user.>"];
  const made = await streams.add({ name: "USERS", subjects, max_bytes, discard: DiscardPolicy.Old });
  const { info, isNew } = await ensureStream(nats, "USERS", {}, log);
  expect(isNew).toBe(false);
  expect(info.config).toEqual({ ...made.config, discard: DiscardPolicy.New });
  expect(info.created).toBe(made.created);
  expect((await streams.info("USERS")).config.discard).toBe(DiscardPolicy.New);
});

test("a stream that is there is raised to what the operator set, and never lowered", async () => {
  await using broker = await startTestNats({ jetstream: { max_file_store: 300 * 1024 * 1024 } });
  const connect = async (settings: StreamSettings) =>
    await connectNats({ url: broker.url("auth"), name: "auth", log, streamSettings: () => settings });
  const MiB = 1_048_576;
  await using first = await connect({ maxBytes: 10 * MiB });
  const made = await ensureStream(first, "USERS", {}, log);
  expect(made).toMatchObject({ isNew: true, info: { config: { max_bytes: 10 * MiB, num_replicas: 1 } } });
  await using lower = await connect({ maxBytes: 5 * MiB });
  expect((await ensureStream(lower, "USERS", {}, log)).info.config.max_bytes).toBe(10 * MiB);
  await using higher = await connect({ maxBytes: 20 * MiB });
  const { info, isNew } = await ensureStream(higher, "USERS", {}, log);
  expect(isNew).toBe(false);
  expect(info.config).toMatchObject({ ...made.info.config, max_bytes: 20 * MiB });
  expect(info.created).toBe(made.info.created);
  // More than the disk has: the server refuses, and the stream goes on as it is.
  await using tooMuch = await connect({ maxBytes: 1_024 * MiB });
  expect((await ensureStream(tooMuch, "USERS", {}, log)).info.config.max_bytes).toBe(20 * MiB);
});

test("the server takes every definition as it is meant, and heartbeats keep the last one of each node", async () => {
  await using broker = await startTestNats();
  await using nats = await connectNats({ url: broker.url("operator"), name: "operator", log });
  for (const name of ["USERS", "QUOTAS", "NODES", "CHUNKS", "NODE_HEARTBEATS", "DEAD_LETTERS"] as const) {
    const { info } = await ensureStream(nats, name, {}, log);
    expect(info.config).toMatchObject({ ...streamConfig(name) });
  }
  for (const beat of ["1", "2", "3"]) {
    nats.publish("decentrastore.node.heartbeat.a", new TextEncoder().encode(beat));
    nats.publish("decentrastore.node.heartbeat.b", new TextEncoder().encode(beat));
  }
  await nats.connection.flush();
  const { streams } = await nats.connection.jetstreamManager();
  const last = await streams.getMessage("NODE_HEARTBEATS", { last_by_subj: "decentrastore.node.heartbeat.a" });
  expect(last.string()).toBe("3");
  expect((await streams.info("NODE_HEARTBEATS")).state.messages).toBe(2);
});

test("every event has one stream", () => {
  expect(streamOf("decentrastore.node.heartbeat.n")).toBe("NODE_HEARTBEATS");
  expect(streamOf("decentrastore.node.state_changed.n")).toBe("NODES");
  expect(streamOf("decentrastore.upload.completed.u")).toBe("CHUNKS");
  expect(streamOf("decentrastore.user.registered.u")).toBe("USERS");
  expect(streamOf("decentrastore.quota.threshold.u")).toBe("QUOTAS");
  expect(streamOf("decentrastore.unknown.x")).toBeUndefined();
  expect(streamOf("decentrastore.node.online")).toBeUndefined();
  expect(streamOf("decentrastore.node.online.")).toBeUndefined();
  expect(streamOf("decentrastore.node.online.a.b")).toBeUndefined();
  expect(streamOf("decentrastore.chunk.stored.a.b")).toBe("CHUNKS");
  const all = Object.values(streamDefinitions).flatMap(({ subjects }) => subjects);
  const examples = all.map((pattern) => pattern.replace("*", "x").replace(">", "x.y"));
  for (const example of examples) expect(all.filter((pattern) => subjectMatches(pattern, example))).toHaveLength(1);
});
