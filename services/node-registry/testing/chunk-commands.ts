import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { expect } from "vitest";
import { z } from "zod";
import { StoredChunkResult as Result } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { sql, zUuid } from "#platform/postgres/sql.ts";
import { followAvailability } from "../chunks/availability.worker.ts";
import { endDueUploads } from "../chunks/end-uploads.worker.ts";
import type { ChunkFixture } from "./chunk-fixture.ts";
import type { ChunkModel } from "./chunk-model.ts";
import { contradictions } from "./chunk-truth.ts";

/** The real thing: the fixture, and the names that the numbers in commands stand for. */
export interface RealChunks {
  readonly f: ChunkFixture;
  readonly users: readonly string[];
  readonly hashes: readonly string[];
  readonly nodes: readonly string[];
  readonly uploads: string[];
}

type Command = fc.AsyncCommand<ChunkModel, RealChunks, true>;

/** The same question to model and service; then both must say the same about every hash and upload. */
function command(name: string, run: (model: ChunkModel, real: RealChunks) => Promise<void>): Command {
  return {
    check: () => Promise.resolve(true),
    run: async (model, real) => {
      await run(model, real);
      await expectAgreement(model, real);
    },
    toString: () => name,
  };
}

function pick<T>(items: readonly T[], index: number): T | undefined {
  return items.length === 0 ? undefined : items[index % items.length];
}

const index = fc.nat({ max: 999 });

export function chunkCommands(hashCount: number) {
  const some = fc.subarray(
    Array.from({ length: hashCount }, (_, i) => i),
    { minLength: 1 },
  );
  return fc.commands<ChunkModel, RealChunks, true>(
    [
      fc
        .tuple(index, some, fc.integer({ min: 1, max: 4 }))
        .map(([user, hashes, replicas]) => placeCommand(user, hashes, replicas)),
      fc.tuple(index, some).map(([node, hashes]) => reportCommand(node, hashes)),
      fc.tuple(index, some).map(([node, hashes]) => reportCommand(node, hashes)),
      fc.tuple(index, some).map(([node, hashes]) => reportCommand(node, hashes)),
      fc.tuple(index, some).map(([upload, hashes]) => releaseCommand(upload, hashes)),
      fc.tuple(index, index, fc.boolean()).map(([node, hash, isDeleted]) => lossCommand(node, hash, isDeleted)),
      index.map(confirmDeletionsCommand),
      fc.tuple(index, index, index).map(([upload, hash, node]) => replaceCommand(upload, hash, node)),
      fc.integer({ min: 1, max: 30 }).map(passCommand),
      index.map(toggleCommand),
    ],
    { maxCommands: 60, size: "max" },
  );
}

function placeCommand(user: number, chosen: readonly number[], replicas: number): Command {
  return command(`place(user ${user % 2}, ${chosen}, x${replicas})`, async (model, { f, users, hashes, uploads }) => {
    const [userId, uploadId] = [users[user % users.length] ?? "", randomUUID()];
    const asked = chosen.map((at) => hashes[at] ?? "");
    const expected = model.placement(userId, asked, replicas);
    const chunks = asked.map((chunkHash, blockIndex) => ({ chunkHash, sizeBytes: 100n, blockIndex }));
    const call = f.chunks.placeChunks({ userId, uploadId, chunks, replicas });
    if (expected === "owned") return expect(call).rejects.toThrow(/another user/);
    if (expected === "few") return expect(call).rejects.toThrow(/fewer nodes/);
    const answer = await call;
    for (const { chunkHash, nodes } of answer.chunks) {
      const before = model.living(chunkHash);
      const added = nodes.map((n) => n.nodeId).filter((id) => !(before?.assigned.has(id) || before?.confirmed.has(id)));
      expect(added).toHaveLength(expected.get(chunkHash) ?? -1);
      expect(new Set(added).isSubsetOf(new Set(model.candidates(chunkHash)))).toBe(true);
    }
    const nodesByHash = new Map(answer.chunks.map(({ chunkHash, nodes }) => [chunkHash, nodes.map((n) => n.nodeId)]));
    model.place({ id: uploadId, user: userId, replicas }, nodesByHash);
    uploads.push(uploadId);
    return undefined;
  });
}

const RESULTS = {
  confirmed: Result.CONFIRMED,
  already_confirmed: Result.ALREADY_CONFIRMED,
  not_placed: Result.NOT_PLACED,
  released: Result.RELEASED,
  upload_expired: Result.UPLOAD_EXPIRED,
} as const;

function reportCommand(node: number, chosen: readonly number[]): Command {
  return command(`report(node ${node % 5}, ${chosen})`, async (model, { f, nodes, hashes }) => {
    const nodeId = pick(nodes, node) ?? "";
    const chunkHashes = chosen.map((at) => hashes[at] ?? "");
    const { results } = await f.nodeById(nodeId).client.reportStoredChunks({ chunkHashes });
    expect(results).toEqual(chunkHashes.map((hash) => RESULTS[model.report(nodeId, hash)]));
  });
}

function releaseCommand(upload: number, chosen: readonly number[]): Command {
  return command(`release(upload ${upload}, ${chosen})`, async (model, { f, hashes, uploads }) => {
    const uploadId = pick(uploads, upload);
    if (uploadId === undefined) return;
    const chunkHashes = chosen.map((at) => hashes[at] ?? "");
    const userId = model.uploads.get(uploadId)?.user ?? "";
    const { releasedChunkHashes } = await f.chunks.releaseChunks({ userId, uploadId, chunkHashes });
    expect(releasedChunkHashes).toEqual(model.release(uploadId, chunkHashes, "released"));
  });
}

function lossCommand(node: number, hash: number, isDeleted: boolean): Command {
  return command(
    `${isDeleted ? "deleted" : "lost"}(node ${node % 5}, ${hash})`,
    async (model, { f, nodes, hashes }) => {
      const [nodeId, chunkHash] = [pick(nodes, node) ?? "", pick(hashes, hash) ?? ""];
      const { client } = f.nodeById(nodeId);
      if (isDeleted) {
        await client.reportDeletedChunks({ chunkHashes: [chunkHash] });
        model.deleted(nodeId, chunkHash);
      } else {
        await client.reportLostChunks({ chunkHashes: [chunkHash] });
        model.lose(nodeId, chunkHash);
      }
    },
  );
}

/** What an obedient node does with its deletion commands. */
function confirmDeletionsCommand(node: number): Command {
  return command(`confirmDeletions(node ${node % 5})`, async (model, { f, nodes }) => {
    const nodeId = pick(nodes, node) ?? "";
    const due = [...model.chunks].filter(([, chunk]) => chunk.deletions.has(nodeId)).map(([hash]) => hash);
    if (due.length === 0) return;
    await f.nodeById(nodeId).client.reportDeletedChunks({ chunkHashes: due });
    for (const hash of due) model.deleted(nodeId, hash);
  });
}

function replaceCommand(upload: number, hash: number, node: number): Command {
  return command(
    `replace(upload ${upload}, ${hash}, node ${node % 5})`,
    async (model, { f, nodes, hashes, uploads }) => {
      const uploadId = pick(uploads, upload);
      if (uploadId === undefined) return;
      const [chunkHash, failedNodeId] = [pick(hashes, hash) ?? "", pick(nodes, node) ?? ""];
      const before = model.uploads.get(uploadId);
      const chunk = model.chunks.get(chunkHash);
      const call = f.chunks.replaceNodes({ uploadId, replacements: [{ chunkHash, failedNodeId }] });
      if (before?.state === "expired") return expect(call).rejects.toThrow(/expired/);
      if (chunk?.uses.has(uploadId) !== true) return expect(call).rejects.toThrow(/no chunk/);
      const targets = model
        .candidates(chunkHash)
        .filter((id) => !before?.replaced.has(`${chunkHash}/${id}`) && id !== failedNodeId);
      if (chunk.assigned.has(failedNodeId) && targets.length === 0) return expect(call).rejects.toThrow(/fewer nodes/);
      const answer = await call;
      const after = (answer.chunks[0]?.nodes ?? []).map((n) => n.nodeId);
      const added = after.filter((id) => !chunk.assigned.has(id) && !chunk.confirmed.has(id));
      expect(new Set(added).isSubsetOf(new Set(targets))).toBe(true);
      model.replaced(uploadId, chunkHash, failedNodeId, after);
      return undefined;
    },
  );
}

function passCommand(hours: number): Command {
  return command(`pass(${hours} h)`, async (model, { f }) => {
    f.clock.jump(hours * 3_600_000);
    model.nowMs += hours * 3_600_000;
    while (await endDueUploads(f.deps));
    model.endDueUploads();
  });
}

function toggleCommand(node: number): Command {
  return command(`toggle(node ${node % 5})`, async (model, { f, nodes }) => {
    const nodeId = pick(nodes, node) ?? "";
    const isOffline = !model.offline.delete(nodeId);
    if (isOffline) model.offline.add(nodeId);
    const before = f.clock.now();
    await f.changeNode(f.nodeById(nodeId), { liveness: isOffline ? "offline" : "online" });
    model.nowMs += f.clock.now().since(before).total("milliseconds");
    await followAvailability(f.deps);
  });
}

const zChunk = z.strictObject({
  hash: z.string(),
  owner: zUuid,
  generation: z.int(),
  is_living: z.boolean(),
  has_quorum: z.boolean(),
  wanted: z.int(),
  assigned: z.array(z.string()),
  confirmed: z.array(z.string()),
  deletions: z.array(z.string()),
});

async function expectAgreement(model: ChunkModel, { f }: RealChunks): Promise<void> {
  expect(await contradictions(f.pool)).toEqual([]);
  const rows = await f.pool.any(sql.type(zChunk)`
    select encode(c.chunk_hash, 'hex') as hash, c.owner_id as owner, c.generation, c.released_at is null as is_living,
      c.quorum_at is not null as has_quorum, c.wanted_replicas as wanted,
      array(select encode(n.node_id, 'hex') from node_registry.chunk_storage s
        join node_registry.storage_nodes n on n.id = s.node_id
        where s.chunk_hash = c.chunk_hash and s.stored_at is null order by 1) as assigned,
      array(select encode(n.node_id, 'hex') from node_registry.chunk_storage s
        join node_registry.storage_nodes n on n.id = s.node_id
        where s.chunk_hash = c.chunk_hash and s.stored_at is not null order by 1) as confirmed,
      array(select encode(n.node_id, 'hex') || ' ' || d.cause from node_registry.chunk_deletions d
        join node_registry.storage_nodes n on n.id = d.node_id where d.chunk_hash = c.chunk_hash order by 1) as deletions
    from node_registry.chunks c
    where c.owner_id = any(${sql.array([...new Set([...model.chunks.values()].map((c) => c.owner))], "uuid")})`);
  const real = Object.fromEntries(rows.map(({ hash, ...row }) => [hash, row]));
  const expected = Object.fromEntries(
    [...model.chunks].map(([hash, chunk]) => [
      hash,
      {
        owner: chunk.owner,
        generation: chunk.generation,
        is_living: chunk.isLiving,
        has_quorum: chunk.hasQuorum,
        wanted: chunk.wanted,
        assigned: [...chunk.assigned].sort(),
        confirmed: [...chunk.confirmed].sort(),
        deletions: [...chunk.deletions].map(([node, cause]) => `${node} ${cause}`).sort(),
      },
    ]),
  );
  expect(real).toEqual(expected);
  const states = await f.pool.any(sql.type(z.strictObject({ upload_id: zUuid, state: z.string() }))`
    select upload_id, state from node_registry.uploads
    where upload_id = any(${sql.array([...model.uploads.keys()], "uuid")})`);
  expect(Object.fromEntries(states.map((row) => [row.upload_id, row.state]))).toEqual(
    Object.fromEntries([...model.uploads].map(([id, upload]) => [id, upload.state])),
  );
}
