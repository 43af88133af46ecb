import { quorumOf } from "../chunks/quorum.ts";

export type Cause = "released" | "upload_expired" | "not_placed";

const DAY_MS = 24 * 3_600_000;

export interface ModelChunk {
  generation: number;
  owner: string;
  isLiving: boolean;
  wanted: number;
  hasQuorum: boolean;
  readonly assigned: Set<string>;
  readonly confirmed: Set<string>;
  readonly deletions: Map<string, Cause>;
  /** Uploads that use it. */
  readonly uses: Set<string>;
}

export interface ModelUpload {
  readonly id: string;
  readonly user: string;
  /** When it expires; for a completed one, when it is looked at again. */
  dueAtMs: number;
  state: "open" | "completed" | "expired";
  isSettled: boolean;
  /** Nodes that failed its client, as "hash/node". */
  readonly replaced: Set<string>;
}

/** What the contract says about a few hashes and uploads, written down as plainly as possible: no counters, only sets. */
export class ChunkModel {
  readonly chunks = new Map<string, ModelChunk>();
  readonly uploads = new Map<string, ModelUpload>();
  readonly offline = new Set<string>();
  readonly nodes: readonly string[];
  nowMs = 0;

  constructor(nodes: readonly string[]) {
    this.nodes = nodes;
  }

  candidates(hash: string): string[] {
    const chunk = this.chunks.get(hash);
    return this.nodes.filter(
      (node) =>
        !this.offline.has(node) &&
        chunk?.deletions.has(node) !== true &&
        chunk?.assigned.has(node) !== true &&
        chunk?.confirmed.has(node) !== true,
    );
  }

  living(hash: string): ModelChunk | undefined {
    const chunk = this.chunks.get(hash);
    return chunk?.isLiving === true ? chunk : undefined;
  }

  /** How many nodes each hash gets by a placement; undefined where it is refused. */
  placement(user: string, hashes: readonly string[], replicas: number): Map<string, number> | "owned" | "few" {
    const living = hashes.map((hash) => this.living(hash));
    if (living.some((chunk) => chunk !== undefined && chunk.owner !== user)) return "owned";
    const isAnyNew = living.some((chunk) => chunk === undefined);
    if (isAnyNew && this.nodes.length - this.offline.size < replicas) return "few";
    const counts = new Map<string, number>();
    for (const hash of hashes) {
      const chunk = this.living(hash);
      const counting = chunk === undefined ? 0 : chunk.assigned.size + chunk.confirmed.size;
      const wanted = Math.max(replicas, chunk?.wanted ?? 0);
      const missing = Math.max(0, wanted - counting);
      const isPossible = this.candidates(hash).length >= missing;
      if (!isPossible && chunk?.hasQuorum !== true && counting < quorumOf(wanted)) return "few";
      counts.set(hash, isPossible ? missing : 0);
    }
    return counts;
  }

  place(upload: { id: string; user: string; replicas: number }, nodesByHash: ReadonlyMap<string, readonly string[]>) {
    for (const [hash, nodes] of nodesByHash) {
      const living = this.living(hash);
      const before = this.chunks.get(hash);
      const chunk: ModelChunk = living ?? {
        generation: (before?.generation ?? 0) + 1,
        owner: upload.user,
        isLiving: true,
        wanted: upload.replicas,
        hasQuorum: false,
        assigned: new Set(),
        confirmed: new Set(),
        deletions: before?.deletions ?? new Map(),
        uses: new Set(),
      };
      this.chunks.set(hash, chunk);
      chunk.wanted = Math.max(chunk.wanted, upload.replicas);
      chunk.uses.add(upload.id);
      for (const node of nodes) if (!chunk.confirmed.has(node)) chunk.assigned.add(node);
    }
    this.uploads.set(upload.id, {
      id: upload.id,
      user: upload.user,
      dueAtMs: this.nowMs + DAY_MS,
      state: "open",
      isSettled: false,
      replaced: new Set(),
    });
    this.completeUploads();
  }

  report(node: string, hash: string): Cause | "confirmed" | "already_confirmed" {
    const chunk = this.chunks.get(hash);
    if (chunk?.confirmed.has(node) === true) return "already_confirmed";
    if (chunk === undefined || !chunk.assigned.delete(node)) return chunk?.deletions.get(node) ?? "not_placed";
    chunk.confirmed.add(node);
    if (chunk.confirmed.size >= quorumOf(chunk.wanted)) chunk.hasQuorum = true;
    this.completeUploads();
    return "confirmed";
  }

  /** The hashes whose life ends with it. */
  release(uploadId: string, hashes: readonly string[], cause: Cause): string[] {
    const ended = hashes.filter((hash) => {
      const chunk = this.chunks.get(hash);
      if (chunk?.uses.delete(uploadId) !== true || chunk.uses.size > 0) return false;
      for (const node of [...chunk.assigned, ...chunk.confirmed]) chunk.deletions.set(node, cause);
      chunk.assigned.clear();
      chunk.confirmed.clear();
      chunk.isLiving = false;
      return true;
    });
    this.completeUploads();
    return ended;
  }

  lose(node: string, hash: string): void {
    this.chunks.get(hash)?.confirmed.delete(node);
  }

  deleted(node: string, hash: string): void {
    if (this.chunks.get(hash)?.deletions.delete(node) !== true) this.lose(node, hash);
  }

  replaced(uploadId: string, hash: string, node: string, nodesAfter: readonly string[]): void {
    const chunk = this.chunks.get(hash);
    this.uploads.get(uploadId)?.replaced.add(`${hash}/${node}`);
    if (chunk?.assigned.delete(node) !== true) return;
    chunk.deletions.set(node, "not_placed");
    for (const other of nodesAfter) if (!chunk.confirmed.has(other)) chunk.assigned.add(other);
  }

  endDueUploads(): void {
    for (const upload of [...this.uploads.values()].sort((a, b) => a.dueAtMs - b.dueAtMs)) {
      if (upload.isSettled || upload.dueAtMs > this.nowMs) continue;
      upload.isSettled = true;
      upload.replaced.clear();
      const used = [...this.chunks].filter(([, chunk]) => chunk.uses.has(upload.id));
      const wasOpen = upload.state === "open";
      if (wasOpen) {
        upload.state = "expired";
        this.release(
          upload.id,
          used.filter(([, chunk]) => !chunk.hasQuorum).map(([hash]) => hash),
          "upload_expired",
        );
      }
      for (const [, chunk] of used) {
        if (!chunk.hasQuorum || !chunk.isLiving || this.isAwaited(chunk)) continue;
        if (!wasOpen && chunk.confirmed.size < chunk.wanted) {
          upload.isSettled = false;
          upload.dueAtMs = this.nowMs + DAY_MS;
          continue;
        }
        for (const node of chunk.assigned) chunk.deletions.set(node, wasOpen ? "upload_expired" : "not_placed");
        chunk.assigned.clear();
      }
    }
  }

  private isAwaited(chunk: ModelChunk): boolean {
    return [...chunk.uses].some((id) => this.uploads.get(id)?.state === "open");
  }

  private completeUploads(): void {
    for (const upload of this.uploads.values()) {
      if (upload.state !== "open") continue;
      const used = [...this.chunks.values()].filter((chunk) => chunk.uses.has(upload.id));
      if (used.every((chunk) => chunk.hasQuorum)) upload.state = "completed";
    }
  }
}
