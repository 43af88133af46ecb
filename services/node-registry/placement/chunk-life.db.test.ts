import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { ChunkReleasedSchema, ChunkStoredSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { endDueUploads } from "../chunks/end-uploads.worker.ts";
import { chunkCommands } from "../testing/chunk-commands.ts";
import { eventsOf } from "../testing/chunk-events.ts";
import { createChunkFixture, newHash } from "../testing/chunk-fixture.ts";
import { ChunkModel } from "../testing/chunk-model.ts";
import { unsettledReservations } from "../testing/reservation-truth.ts";

const DAY_MS = 24 * 3_600_000;
const RUNS = Number(process.env.CHUNK_MODEL_RUNS ?? 5);

test("whatever users, nodes and time do, in any order, chunks and uploads are what the model says", async () => {
  await using f = await createChunkFixture();
  const nodes = await f.addNodes(5);
  await fc.assert(
    fc.asyncProperty(chunkCommands(4), async (commands) => {
      for (const node of nodes) await f.changeNode(node, { liveness: "online" });
      const setup = () => ({
        model: new ChunkModel(nodes.map((node) => node.nodeId)),
        real: {
          f,
          users: [randomUUID(), randomUUID()],
          hashes: Array.from({ length: 4 }, newHash),
          nodes: nodes.map((node) => node.nodeId),
          uploads: [],
        },
      });
      await fc.asyncModelRun(setup, commands);
    }),
    { numRuns: RUNS, endOnFailure: true },
  );
  f.clock.jump(DAY_MS);
  while (await endDueUploads(f.deps));
  expect(await unsettledReservations(f.pool)).toEqual([]);
  const charges = new Set<string>();
  for (const event of await eventsOf(f.pool, ChunkStoredSchema)) {
    if (!event.reachedQuorum) continue;
    const life = `${event.chunkHash} ${event.generation}`;
    expect(charges.has(life), "a life is charged once").toBe(false);
    charges.add(life);
  }
  for (const event of await eventsOf(f.pool, ChunkReleasedSchema)) {
    const life = `${event.chunkHash} ${event.generation}`;
    expect(charges.has(life), "only what was charged is refunded").toBe(event.charged);
  }
}, 120_000);
