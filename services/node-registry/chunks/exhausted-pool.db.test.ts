import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { createContextValues, createHandlerContext } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { NodeService, ReportStoredChunksRequestSchema } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { PoolExhaustedError } from "#platform/postgres/errors.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { callerKey } from "#platform/rpc/caller.ts";
import { createChunkRooms } from "../chunk-rooms.ts";
import { createChunkFixture, newChunks } from "../testing/chunk-fixture.ts";

test("reports that share a transaction for which no connection is free are refused together, not one after the other", async () => {
  await using f = await createChunkFixture();
  const node = await f.addNode();
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(20), replicas: 1 };
  await f.chunks.placeChunks(upload);
  const pool = await f.db.pool("node_registry", { poolSize: 1, maxOverflow: 0, waitMs: 200 });
  let tries = 0;
  const base: Pool = Object.create(pool);
  const counted: Pool = Object.assign(base, {
    transaction: (...given: Parameters<Pool["transaction"]>) => {
      tries += 1;
      return pool.transaction(...given);
    },
  });
  const rooms = createChunkRooms({ ...f.deps, pool: counted });
  const report = async (chunkHash: string) =>
    rooms.nodeRpcs.reportStoredChunks(
      create(ReportStoredChunksRequestSchema, { chunkHashes: [chunkHash] }),
      createHandlerContext({
        service: NodeService,
        method: NodeService.method.reportStoredChunks,
        protocolName: "test",
        requestMethod: "POST",
        url: "http://test",
        contextValues: createContextValues().set(callerKey, { kind: "node", nodeId: node.nodeId }),
      }),
    );
  const ended = Promise.withResolvers<void>();
  const holding = pool.transaction(() => ended.promise);
  const settled = await Promise.allSettled(upload.chunks.map(({ chunkHash }) => report(chunkHash)));
  expect(settled.map((one) => one.status === "rejected" && one.reason instanceof PoolExhaustedError)).toEqual(
    settled.map(() => true),
  );
  // The first one alone, and then all that came meanwhile.
  expect(tries).toBe(2);
  ended.resolve();
  await holding;
});
