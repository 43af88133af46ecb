import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test, vi } from "vitest";
import { NodeSchema, NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { bytes, sql } from "#platform/postgres/sql.ts";
import { createTestNetwork } from "../testing/test-registry.ts";

/** A Connect stream as bytes, which nobody reads until `readAll`. */
async function openWatch(url: string, authorization: string, fromRevision: bigint): Promise<IncomingMessage> {
  const body = Buffer.from(JSON.stringify({ fromRevision: String(fromRevision) }));
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  const outgoing = request(`${url}/decentrastore.node_registry.v1.NodeDirectoryService/WatchNodes`, {
    method: "POST",
    headers: { "content-type": "application/connect+json", "connect-protocol-version": "1", authorization },
  });
  outgoing.end(Buffer.concat([head, body]));
  const [response] = await once(outgoing, "response");
  return response;
}

/** The messages of a Connect stream; the last one is its end. */
async function readAll(response: IncomingMessage): Promise<Record<string, unknown>[]> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  const data = Buffer.concat(chunks);
  const messages: Record<string, unknown>[] = [];
  for (let at = 0; at + 5 <= data.length; ) {
    const end = at + 5 + data.readUInt32BE(at + 1);
    messages.push(JSON.parse(data.subarray(at + 5, end).toString()));
    at = end;
  }
  return messages;
}

test("a reader that does not read is dropped with a clear error, and others are not disturbed", async () => {
  await using network = await createTestNetwork();
  await using registry = await network.registry({}, { watcherStallMs: 3_000 });
  const node = await registry.enroll();
  const pool = await network.db.pool("node_registry");
  await vi.waitFor(async () => expect((await registry.directory.getNetworkStats({})).revision).toBe(1n), 20_000);
  const authorization = await network.issuer.user(randomUUID(), { isAdmin: true });
  const opened = openWatch(registry.url, authorization, 1n);
  // A first change, with which the response begins.
  await registry.directory.setNodeState({ nodeId: node.nodeId, state: NodeState.DRAINING, reason: "test" });
  const slow = await opened;

  // 25,000 changes of half a KB: more than the sockets hold, and small enough not to be compressed.
  const payload = toBinary(NodeSchema, create(NodeSchema, { nodeId: node.nodeId, region: "x".repeat(500) }));
  await pool.query(sql.unsafe`
    with head as (update node_registry.directory_head set revision = revision + 25000 returning revision)
    insert into node_registry.directory_changes (revision, node_row_id, node_id, node)
    select n, 1, decode(${node.nodeId}, 'hex'), ${bytes(payload)} from head, generate_series(3, head.revision) n`);
  let last = 1n;
  for await (const response of registry.directory.watchNodes({ fromRevision: 1n })) {
    expect(response.revision).toBe(last + 1n);
    last = response.revision;
    if (last === 25_002n) break;
  }

  const metrics = async () => (await fetch(`${registry.opsUrl}/metrics`)).text();
  await vi.waitFor(
    async () => expect(await metrics()).toMatch(/WatchNodes.*RESOURCE_EXHAUSTED|RESOURCE_EXHAUSTED.*WatchNodes/),
    20_000,
  );
  const told = await readAll(slow);
  expect(told.length).toBeLessThan(25_000);
  expect(told.at(-1)).toMatchObject({
    error: {
      code: "resource_exhausted",
      details: expect.arrayContaining([expect.objectContaining({ type: "google.rpc.ErrorInfo" })]),
    },
  });
  expect(JSON.stringify(told.at(-1))).toContain("WATCHER_TOO_SLOW");
});

test("a watcher that knows more than a process has read by now goes on when that has caught up", async () => {
  await using network = await createTestNetwork();
  await using registry = await network.registry();
  const node = await registry.enroll();
  await vi.waitFor(async () => expect((await registry.directory.getNetworkStats({})).revision).toBe(1n), 20_000);
  const watching = registry.directory.watchNodes({ fromRevision: 2n }, { timeoutMs: 60_000 })[Symbol.asyncIterator]();
  const first = watching.next();
  for (const state of [NodeState.DRAINING, NodeState.IN_SERVICE]) {
    await registry.directory.setNodeState({ nodeId: node.nodeId, state, reason: "test" });
  }
  expect((await first).value?.revision).toBe(3n);
  await watching.return?.();
});
